package filter

import (
	"encoding/binary"
	"net/netip"
)

// Exclusion leaves out flows where the kernel's program cannot, as with Npcap, whose driver throws away what it holds
// when it gets another program. It leaves out what Options.Exclude does. The zero Exclusion leaves out nothing; one is
// never changed, and may be used by several goroutines at once.
type Exclusion struct{ flows map[Flow]struct{} }

// NewExclusion is an Exclusion of any number of flows.
func NewExclusion(flows []Flow) Exclusion {
	e := Exclusion{flows: make(map[Flow]struct{}, len(flows))}
	for _, f := range flows {
		addr := f.Remote.Addr().Unmap().WithZone("")
		e.flows[Flow{f.LocalPort, netip.AddrPortFrom(addr, f.Remote.Port())}] = struct{}{}
	}
	return e
}

// Excludes reports whether a packet belongs to one of the flows. It allocates nothing.
func (e Exclusion) Excludes(p *Packet) bool {
	if len(e.flows) == 0 {
		return false
	}
	version, data := networkLayer(p)
	var source, destination netip.Addr
	var ports []byte
	switch {
	case version == 4 && len(data) >= minTCPv4 && data[0] == 0x45 && data[9] == protoTCP && binary.BigEndian.Uint16(data[6:])&0x1fff == 0:
		source, destination, ports = netip.AddrFrom4([4]byte(data[12:])), netip.AddrFrom4([4]byte(data[16:])), data[20:]
	case version == 6 && len(data) >= minTCPv6 && data[0]>>4 == 6 && data[6] == protoTCP:
		source, destination, ports = netip.AddrFrom16([16]byte(data[8:])), netip.AddrFrom16([16]byte(data[24:])), data[40:]
	default:
		return false
	}
	from, to := binary.BigEndian.Uint16(ports), binary.BigEndian.Uint16(ports[2:])
	if _, sent := e.flows[Flow{from, netip.AddrPortFrom(destination, to)}]; sent {
		return true
	}
	_, received := e.flows[Flow{to, netip.AddrPortFrom(source, from)}]
	return received
}
