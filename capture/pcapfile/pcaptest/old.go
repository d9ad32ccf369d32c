package pcaptest

import (
	"fmt"

	"pcapctl/capture/pcapfile"
)

// Old is a kind of classic pcap file that programs of former days wrote.
type Old struct {
	Order        Order
	Major, Minor uint16
	// WireFirst writes a record's length on the wire before the captured one, as
	// was done before version 2.3.
	WireFirst bool
	// Modified is the form with a longer header of records.
	Modified bool
}

func (o Old) String() string {
	return fmt.Sprintf("%v,%d.%d,wireFirst=%v,modified=%v", o.Order, o.Major, o.Minor, o.WireFirst, o.Modified)
}

// Olds are the kinds that libpcap reads, in one byte order.
func Olds(order Order) []Old {
	all := []Old{
		{Order: order, Major: 2, WireFirst: true}, {Order: order, Major: 2, Minor: 1, WireFirst: true},
		{Order: order, Major: 2, Minor: 2, WireFirst: true}, {Order: order, Major: 2, Minor: 3},
		{Order: order, Major: 2, Minor: 3, WireFirst: true}, {Order: order, Major: 543, WireFirst: true},
	}
	for _, o := range all[2:5] {
		o.Modified = true
		all = append(all, o)
	}
	return append(all, Old{Order: order, Major: 2, Minor: 4, Modified: true})
}

// File makes a file with times in microseconds.
func (o Old) File(packets []Packet, link pcapfile.LinkType) []byte {
	b := Form{Order: o.Order}.header(link)
	if o.Modified {
		o.Order.PutUint32(b, 0xa1b2cd34)
	}
	o.Order.PutUint16(b[4:], o.Major)
	o.Order.PutUint16(b[6:], o.Minor)
	for _, p := range packets {
		b = o.Order.AppendUint32(b, p.Sec)
		b = o.Order.AppendUint32(b, p.Nsec/1000)
		captured, wire := uint32(len(p.Data)), p.length()
		if o.WireFirst {
			captured, wire = wire, captured
		}
		b = o.Order.AppendUint32(b, captured)
		b = o.Order.AppendUint32(b, wire)
		if o.Modified {
			b = o.Order.AppendUint32(b, 3) // interface
			b = o.Order.AppendUint16(b, 0x0800)
			b = append(b, 0, 0) // packet type
		}
		b = append(b, p.Data...)
	}
	return b
}
