package netif

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/windows"
)

// The list has what Go's own has, which asks in another way (with prefixes), and more of each.
func TestListAsGo(t *testing.T) {
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.Interfaces()
	if err != nil {
		t.Skip("package net cannot list them, as on Wine 10: ", err)
	}
	if len(list) != len(want) || len(list) == 0 {
		t.Errorf("%d interfaces, package net has %d", len(list), len(want))
	}
	for _, w := range want {
		i, found := ByIndex(list, w.Index)
		if !found {
			t.Errorf("no interface %d (%s)", w.Index, w.Name)
			continue
		}
		if i.Name != w.Name || i.Up != (w.Flags&net.FlagUp != 0) || i.Loopback != (w.Flags&net.FlagLoopback != 0) || net.HardwareAddr(i.MAC).String() != w.HardwareAddr.String() {
			t.Errorf("%+v, package net has %+v", i, w)
		}
		if mtu := w.MTU; mtu != -1 && i.MTU != mtu { // of the loopback it has no bound
			t.Errorf("%s: MTU %d, want %d", i.Name, i.MTU, mtu)
		}
		if _, err := windows.GUIDFromString(i.GUID); err != nil {
			t.Errorf("%s: GUID %q: %v", i.Name, i.GUID, err)
		}
		addrs, err := w.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		var have, theirs []string
		for _, a := range i.Addresses {
			have = append(have, a.Addr().String())
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				theirs = append(theirs, n.IP.String())
			}
		}
		slices.Sort(have)
		slices.Sort(theirs)
		if !slices.Equal(have, theirs) {
			t.Errorf("%s: addresses %v, want %v", i.Name, have, theirs)
		}
		for _, name := range []string{i.Name, i.GUID, `\Device\NPF_` + i.GUID} {
			if got, found := Find(list, name); !found || got.Index != i.Index {
				t.Errorf("%q leads to %+v", name, got)
			}
		}
		if i.Loopback && i.Skipped(list) != "loopback" {
			t.Errorf("loopback is left out for %q", i.Skipped(list))
		}
	}
}
