package netif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/testnet"
)

func TestList(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	ns.IP("link", "add", "br0", "type", "bridge")
	ns.IP("link", "set", "v1", "master", "br0")
	ns.IP("tuntap", "add", "tun0", "mode", "tun")
	ns.IP("addr", "add", "10.1.2.3/24", "dev", "v0")
	ns.IP("addr", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "tun0")

	var all []Interface
	var err error
	ns.Do(func() { all, err = List() })
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	for _, i := range all {
		index[i.Name] = i.Index
	}
	type view struct {
		Name      string
		HWType    HWType
		Master    int
		Skipped   string
		Addresses []netip.Prefix
	}
	var got []view
	for _, i := range all {
		got = append(got, view{i.Name, i.HWType, i.Master, i.Skipped(all), i.Addresses})
	}
	want := []view{
		{"lo", Loopback, 0, "loopback", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{"v1", Ethernet, index["br0"], "enslaved to another interface", nil},
		{"v0", Ethernet, 0, "", []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")}},
		{"br0", Ethernet, 0, "down", nil},
		{"tun0", None, 0, "down", []netip.Prefix{netip.MustParsePrefix("10.9.0.1/32")}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWatch(t *testing.T) {
	ns := testnet.New(t)
	var w *Watch
	var err error
	ns.Do(func() { w, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		name    string
		removed bool
	}
	events := make(chan event, 100)
	done := make(chan error, 1)
	go func() {
		for {
			changed, removed, err := w.Next()
			if err != nil {
				done <- err
				return
			}
			for _, i := range changed {
				events <- event{i.Name, false}
			}
			for _, i := range removed {
				events <- event{i.Name, true}
			}
		}
	}()
	expect := func(want event) {
		t.Helper()
		for {
			select {
			case got := <-events:
				if got == want {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("never heard of %+v", want)
			}
		}
	}
	ns.IP("link", "add", "br0", "type", "bridge")
	expect(event{"br0", false})
	// A port that leaves a bridge is not an interface that goes away.
	ns.Veth("v0", "v1")
	ns.IP("link", "set", "v1", "master", "br0")
	ns.IP("link", "set", "v1", "nomaster")
	ns.IP("link", "del", "br0")
	for heard := false; !heard; {
		select {
		case got := <-events:
			if got.removed && got.name != "br0" {
				t.Fatalf("heard that %s was removed", got.name)
			}
			heard = got == event{"br0", true}
		case <-time.After(30 * time.Second):
			t.Fatal("never heard that br0 was removed")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Close did not end Next")
	}
}

// FuzzParse: whatever the kernel's message is, a parsed interface has the index
// of its header and a name and an alias from within the message, and an address
// fits its prefix length or is not valid at all.
func FuzzParse(f *testing.F) {
	f.Add(uint16(syscall.RTM_NEWLINK), make([]byte, 40))
	f.Add(uint16(syscall.RTM_DELLINK), append(append(make([]byte, 16), 7, 0, 3, 0, 'l', 'o', 0, 0), 8, 0, 4, 0, 0, 0, 1, 0))
	f.Add(uint16(syscall.RTM_NEWADDR), []byte{2, 24, 0, 0, 1, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: data}
		i, isLink := parseLink(m)
		if isLink {
			link := kind == syscall.RTM_NEWLINK || kind == syscall.RTM_DELLINK
			index := int(int32(binary.NativeEndian.Uint32(data[4:])))
			if !link || i.Index != index || i.Name == "" || !bytes.Contains(data, []byte(i.Name)) || !bytes.Contains(data, []byte(i.Alias)) {
				t.Fatalf("message %d %x became %+v", kind, data, i)
			}
			if i.MTU < 0 || i.MTU > math.MaxUint32 || i.Master < 0 || i.Master > math.MaxUint32 || i.Addresses != nil {
				t.Fatalf("out of range: %+v", i)
			}
		}
		index, prefix, isAddr := parseAddress(m)
		switch {
		case isAddr && isLink:
			t.Fatalf("message %d is both a link and an address", kind)
		case isAddr:
			addr := prefix.Addr().AsSlice()
			if kind != syscall.RTM_NEWADDR || index < 0 || index > math.MaxUint32 || !bytes.Contains(data, addr) {
				t.Fatalf("message %d %x became %v of interface %d", kind, data, prefix, index)
			}
			if bits := int(data[1]); prefix.IsValid() != (bits <= len(addr)*8) || prefix.IsValid() && prefix.Bits() != bits {
				t.Fatalf("a prefix length of %d became %v", bits, prefix)
			}
		case prefix.Addr().IsValid():
			t.Fatalf("refused, but %v is valid", prefix)
		}
	})
}
