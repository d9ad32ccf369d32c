package capture

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/ring"
)

// sections is what a recorder of pcapng files knows besides: the interfaces of
// the file, and which of them the next packet is of. It belongs to the packet
// loop.
type sections struct {
	head     []byte        // section header
	ifaces   []ngInterface // in the order of their numbers
	byKey    map[ngKey]uint32
	describe func(ngKey) ngInterface // one that has appeared
	pending  []byte                  // the description of one that has appeared, until its first packet is recorded

	// Of the packet that is added next.
	key   ngKey
	id    uint32
	flags uint32
}

// ngKey tells interfaces apart. One that is made anew may get the index of one
// that is gone, and be another kind of device.
type ngKey struct {
	index  int
	hwType netif.HWType
}

type ngInterface struct {
	ngKey
	block   []byte // its description
	link    pcapfile.LinkType
	packets uint64 // recorded
}

// newSections makes the sections of a capture on the interfaces; describe is
// asked for those that appear later, and may be nil when none can.
func newSections(s *pcapfile.Section, ifaces []ngInterface, describe func(ngKey) ngInterface) *sections {
	n := &sections{head: pcapfile.AppendSection(nil, s), byKey: map[ngKey]uint32{}, describe: describe}
	for _, i := range ifaces {
		n.byKey[i.ngKey] = uint32(len(n.ifaces))
		n.ifaces = append(n.ifaces, i)
	}
	if len(ifaces) > 0 {
		n.key = ifaces[0].ngKey
	}
	return n
}

// header appends what a file begins with.
func (n *sections) header(b []byte) []byte {
	b = append(b, n.head...)
	for i := range n.ifaces {
		b = append(b, n.ifaces[i].block...)
	}
	n.pending = nil
	return b
}

// reserve is how many bytes must be left for what stands at the end of a file.
func (n *sections) reserve() int64 { return int64(len(n.ifaces)) * pcapfile.StatisticsLen }

// choose says which interface the next packet is of, and its link type.
func (n *sections) choose(p *ring.Packet) pcapfile.LinkType {
	if key := (ngKey{p.Interface, netif.HWType(p.HWType)}); key != n.key || len(n.ifaces) == 0 {
		n.turnTo(key)
	}
	n.flags = pcapfile.PacketFlags(p.Type)
	return n.ifaces[n.id].link
}

func (n *sections) turnTo(key ngKey) {
	n.key = key
	id, known := n.byKey[key]
	if !known {
		id = uint32(len(n.ifaces))
		n.byKey[key] = id
		i := n.describe(key)
		n.ifaces = append(n.ifaces, i)
		n.pending = append(n.pending, i.block...)
	}
	n.id = id
}

// addNG is add for pcapng.
func (r *recorder) addNG(sec, nsec uint32, prefix, data []byte, length int) (full bool, err error) {
	n := r.ng
	caplen := min(len(prefix)+len(data), r.snap)
	record := pcapfile.EnhancedLen(caplen)
	if r.limit > 0 && r.all.size+int64(record+len(n.pending))+n.reserve() > r.limit {
		if r.turn == nil {
			return true, nil
		}
		return r.addToNext(sec, nsec, prefix, data, length)
	}
	if len(r.buf) >= bufferSize && r.due() {
		if err := r.flush(); err != nil {
			return false, err
		}
	}
	if len(n.pending) > 0 {
		r.buf = append(r.buf, n.pending...)
		r.all.size += int64(len(n.pending))
		n.pending = n.pending[:0]
		r.buf = slices.Grow(r.buf, record)
	}
	at := len(r.buf)
	r.buf = r.buf[:at+record]
	body := r.buf[at:]
	body = body[pcapfile.PutEnhanced(body, n.id, n.flags, sec, nsec, caplen, length):][:caplen]
	copy(body[copy(body, prefix):], data)
	n.ifaces[n.id].packets++
	r.all.packets++
	r.all.bytes += uint64(caplen)
	r.all.size += int64(record)
	return false, nil
}

// ngEnd is what the statistics at the end of a pcapng file are made of.
type ngEnd struct {
	start, end time.Time
	links      []LinkDrops
	byKernel   uint64
	packets    []uint64 // by the interfaces' numbers
	keys       []ngKey
}

// counts is how many packets were recorded of each interface so far.
func (n *sections) counts() (keys []ngKey, packets []uint64) {
	for i := range n.ifaces {
		keys = append(keys, n.ifaces[i].ngKey)
		packets = append(packets, n.ifaces[i].packets)
	}
	return keys, packets
}

// appendStatistics appends the statistics of all interfaces. The kernel counts
// the packets that found its ring full for the socket and not for each
// interface; they stand with the first.
func appendStatistics(b []byte, e *ngEnd) []byte {
	for id, key := range e.keys {
		s := pcapfile.Statistics{
			Interface: uint32(id), At: e.end, Start: e.start, End: e.end,
			Received: e.packets[id], Recorded: e.packets[id],
		}
		if id == 0 {
			s.DroppedBySystem = e.byKernel
			s.Received += e.byKernel
		}
		if at := slices.IndexFunc(e.links, func(l LinkDrops) bool { return l.Index == key.index }); at >= 0 {
			s.Dropped = e.links[at].Dropped
		}
		b = pcapfile.AppendStatistics(b, &s)
	}
	return b
}

// appendEnd appends blocks that are no packets, for which there was room left.
func (r *recorder) appendEnd(blocks []byte) {
	r.buf = append(r.buf, blocks...)
	r.all.size += int64(len(blocks))
	r.publish()
}

// sections makes the pcapng side of the plan; find looks up an interface that
// appears during the capture.
func (p *Plan) sections(find func(index int) (netif.Interface, bool)) *sections {
	hardware, system := describeMachine()
	describe := func(i netif.Interface) ngInterface { return p.describe(i, system) }
	list := make([]ngInterface, len(p.Interfaces))
	for at, i := range p.Interfaces {
		list[at] = describe(i)
	}
	return newSections(sectionOf(p.Config, hardware, system), list, func(key ngKey) ngInterface {
		i, known := find(key.index)
		if !known {
			i = netif.Interface{Name: fmt.Sprintf("if%d", key.index)}
		}
		i.Index, i.HWType = key.index, key.hwType
		return describe(i)
	})
}

func (p *Plan) describe(i netif.Interface, system string) ngInterface {
	d := pcapfile.Interface{
		Name: i.Name, Description: i.Alias, System: system, LinkType: linkOf(i.HWType), SnapLen: snapLenOf(p.Config),
	}
	if d.Description == "" {
		d.Description = fmt.Sprintf("interface %d, MTU %d", i.Index, i.MTU)
	}
	if p.Config.Filters.Len() > 0 {
		d.Filter = p.Config.Filters.String()
	}
	return ngInterface{ngKey: ngKey{i.Index, i.HWType}, link: d.LinkType, block: pcapfile.AppendInterface(nil, &d)}
}

// linkOf is the link type that packets of a device have by themselves; those
// of a kind that is not known get a cooked header.
func linkOf(t netif.HWType) pcapfile.LinkType {
	switch {
	case t.HasMAC():
		return pcapfile.Ethernet
	case t.IsRawIP():
		return pcapfile.RawIP
	}
	return pcapfile.SLL2
}

// snapLen is the snap length as files have it.
func snapLenOf(c *request.Config) uint32 {
	if c.SnapLen == 0 {
		return pcapfile.MaxSnapLen
	}
	return min(c.SnapLen, pcapfile.MaxSnapLen)
}

// section tells a file's readers where it comes from. There is no secret in the
// request that a Config gives back.
func sectionOf(c *request.Config, hardware, system string) *pcapfile.Section {
	s := &pcapfile.Section{Hardware: hardware, System: system, Application: strings.TrimSpace("pcapctl " + c.Application)}
	s.Comment = fmt.Sprintf("host %s, session %s", c.HostName, c.Name)
	if text, err := json.Marshal(c.Request()); err == nil {
		s.Comment += ", request " + string(text)
	}
	return s
}

// fits refuses a byte limit that has no room for what a pcapng file holds
// besides packets.
func fits(c *request.Config, n *sections) error {
	least := int64(len(n.header(nil))) + n.reserve()
	if c.MaxBytes == 0 || least <= c.MaxBytes {
		return nil
	}
	e := &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.totalBytesPerSession"}
	if c.Continuous != nil {
		e.Target = "properties.captureSettings.fileSizeInBytes"
	}
	e.Message = fmt.Sprintf("%d is too small, a pcapng file of this capture has %d bytes without a packet; write a larger number", c.MaxBytes, least)
	return e
}
