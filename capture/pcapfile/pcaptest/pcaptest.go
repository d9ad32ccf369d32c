// Package pcaptest makes capture files for tests, of every form that pcapctl
// reads, and damaged ones.
package pcaptest

import (
	"encoding/binary"
	"fmt"

	"pcapctl/capture/pcapfile"
)

// Order is a byte order.
type Order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Form is what a file is like.
type Form struct {
	Order Order
	NG    bool
	Nano  bool // nanoseconds, else microseconds
}

// Forms are all there are.
func Forms() []Form {
	var all []Form
	for _, o := range []Order{binary.LittleEndian, binary.BigEndian} {
		for _, ng := range []bool{false, true} {
			all = append(all, Form{o, ng, false}, Form{o, ng, true})
		}
	}
	return all
}

func (f Form) String() string { return fmt.Sprintf("%v,ng=%v,nano=%v", f.Order, f.NG, f.Nano) }

// Packet is a packet of a file.
type Packet struct {
	Data      []byte
	Length    int // on the wire; 0 is that of Data
	Sec, Nsec uint32
	Interface uint32             // pcapng only
	Direction pcapfile.Direction // pcapng only
}

// File makes a file. links are the link types of its interfaces, of which a
// pcap file has one.
func (f Form) File(packets []Packet, links ...pcapfile.LinkType) []byte {
	if !f.NG {
		b := f.header(links[0])
		for _, p := range packets {
			b = f.record(b, p)
		}
		return b
	}
	b := f.Section()
	for _, l := range links {
		resolution := byte(6)
		if f.Nano {
			resolution = 9
		}
		b = append(b, f.Interface(l, 0, f.Option(9, []byte{resolution}))...)
	}
	for _, p := range packets {
		b = append(b, f.enhanced(p)...)
	}
	return b
}

func (f Form) header(link pcapfile.LinkType) []byte {
	magic := uint32(0xa1b2c3d4)
	if f.Nano {
		magic = 0xa1b23c4d
	}
	b := f.Order.AppendUint32(nil, magic)
	b = f.Order.AppendUint16(b, 2)
	b = f.Order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = f.Order.AppendUint32(b, pcapfile.MaxSnapLen)
	return f.Order.AppendUint32(b, uint32(link))
}

func (f Form) fraction(p Packet) uint32 {
	if f.Nano {
		return p.Nsec
	}
	return p.Nsec / 1000
}

func (p Packet) length() uint32 { return uint32(max(p.Length, len(p.Data))) }

func (f Form) record(b []byte, p Packet) []byte {
	b = f.Order.AppendUint32(b, p.Sec)
	b = f.Order.AppendUint32(b, f.fraction(p))
	b = f.Order.AppendUint32(b, uint32(len(p.Data)))
	b = f.Order.AppendUint32(b, p.length())
	return append(b, p.Data...)
}

// Block makes a pcapng block.
func (f Form) Block(kind uint32, body []byte) []byte {
	body = pad(body)
	b := f.Order.AppendUint32(nil, kind)
	b = f.Order.AppendUint32(b, uint32(len(body)+12))
	b = append(b, body...)
	return f.Order.AppendUint32(b, uint32(len(body)+12))
}

func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// Section makes a Section Header Block with an option.
func (f Form) Section() []byte {
	b := f.Order.AppendUint32(nil, 0x1a2b3c4d)
	b = f.Order.AppendUint16(b, 1)
	b = f.Order.AppendUint16(b, 0)
	b = f.Order.AppendUint64(b, 1<<64-1)
	return f.Block(0x0a0d0d0a, append(b, f.Option(4, []byte("pcaptest"))...))
}

// Option makes an option; several follow each other.
func (f Form) Option(code uint16, value []byte) []byte {
	b := f.Order.AppendUint16(nil, code)
	b = f.Order.AppendUint16(b, uint16(len(value)))
	return append(b, pad(value)...)
}

// Interface makes an Interface Description Block.
func (f Form) Interface(link pcapfile.LinkType, snaplen uint32, options []byte) []byte {
	b := f.Order.AppendUint16(nil, uint16(link))
	b = f.Order.AppendUint16(b, 0)
	b = f.Order.AppendUint32(b, snaplen)
	return f.Block(1, append(b, options...))
}

func (f Form) enhanced(p Packet) []byte {
	units := uint64(p.Sec)*1e6 + uint64(p.Nsec/1000)
	if f.Nano {
		units = uint64(p.Sec)*1e9 + uint64(p.Nsec)
	}
	var options []byte
	if p.Direction != pcapfile.UnknownDirection {
		options = f.Option(2, f.Order.AppendUint32(nil, uint32(p.Direction)))
		options = append(options, f.Option(0, nil)...)
	}
	return f.Enhanced(p.Interface, units, p.Data, p.length(), options)
}

// Enhanced makes an Enhanced Packet Block.
func (f Form) Enhanced(id uint32, units uint64, data []byte, length uint32, options []byte) []byte {
	b := f.Order.AppendUint32(nil, id)
	b = f.Order.AppendUint32(b, uint32(units>>32))
	b = f.Order.AppendUint32(b, uint32(units))
	b = f.Order.AppendUint32(b, uint32(len(data)))
	b = f.Order.AppendUint32(b, length)
	return f.Block(6, append(pad(append(b, data...)), options...))
}
