package netif

import (
	"slices"
	"strconv"
	"strings"
)

// npcapDevice is what names of Npcap's devices begin with; Wireshark and dumpcap show these.
const npcapDevice = `\Device\NPF_`

// isAdapter reports whether name stands for an adapter of Windows: its name or description, whose letter case does not count,
// its index, its GUID, or the name of Npcap's device for it.
func (i *Interface) isAdapter(name string) bool {
	if len(name) > len(npcapDevice) && strings.EqualFold(name[:len(npcapDevice)], npcapDevice) {
		name = name[len(npcapDevice):]
		if i.Loopback && strings.EqualFold(name, "Loopback") {
			return true
		}
		return strings.EqualFold(name, i.GUID)
	}
	return strings.EqualFold(name, i.Name) || name == strconv.Itoa(i.Index) ||
		strings.EqualFold(strings.Trim(name, "{}"), strings.Trim(i.GUID, "{}")) ||
		slices.ContainsFunc(i.AltNames, func(alt string) bool { return strings.EqualFold(name, alt) })
}

// Find finds the interface that a user means by name. One that has the name itself goes before one of which it is the index or
// another name.
func Find(all []Interface, name string) (Interface, bool) {
	at := slices.IndexFunc(all, func(i Interface) bool { return i.Name == name })
	if at < 0 {
		at = slices.IndexFunc(all, func(i Interface) bool { return i.Is(name) })
	}
	if at < 0 {
		return Interface{}, false
	}
	return all[at], true
}
