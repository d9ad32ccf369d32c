package netif

import "testing"

// An adapter of Windows is found by all of its names, and an interface of Linux by no more than before.
func TestFind(t *testing.T) {
	const guid = "{4D36E972-E325-11CE-BFC1-08002BE10318}"
	adapters := []Interface{
		{Name: "Loopback Pseudo-Interface 1", Index: 1, GUID: "{00000000-0000-0000-0000-00000000AAAA}", Loopback: true},
		{Name: "7", Index: 5, GUID: "{00000000-0000-0000-0000-00000000BBBB}"},
		{Name: "Ethernet", Index: 7, GUID: guid, AltNames: []string{"Intel(R) 82574L Gigabit Network Connection"}},
	}
	plain := []Interface{{Name: "eth0", Index: 2, AltNames: []string{"uplink"}}}
	for _, test := range []struct {
		all   []Interface
		name  string
		index int // 0 for none
	}{
		{adapters, "Ethernet", 7},
		{adapters, "ETHERNET", 7},
		{adapters, "intel(r) 82574l gigabit network connection", 7},
		{adapters, "5", 5},
		{adapters, "7", 5}, // a name goes before an index
		{adapters, guid, 7},
		{adapters, "4d36e972-e325-11ce-bfc1-08002be10318", 7},
		{adapters, `\Device\NPF_` + guid, 7},
		{adapters, `\device\npf_` + guid, 7},
		{adapters, `\Device\NPF_Loopback`, 1},
		{adapters, `\Device\NPF_Ethernet`, 0},
		{adapters, `\Device\NPF_`, 0},
		{adapters, "", 0},
		{adapters, "{}", 0},
		{adapters, "Ethernet 2", 0},
		{adapters, "07", 0},
		{plain, "eth0", 2},
		{plain, "uplink", 2},
		{plain, "ETH0", 0},
		{plain, "2", 0},
		{plain, "", 0},
	} {
		got, found := Find(test.all, test.name)
		if got.Index != test.index || found != (test.index != 0) {
			t.Errorf("%q: %+v, %v; want index %d", test.name, got, found, test.index)
		}
	}
}
