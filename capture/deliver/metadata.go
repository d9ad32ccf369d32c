package deliver

import "strconv"

// Metadata is what a blob says of the capture in it. Empty texts are left out.
type Metadata struct {
	Name, Host, Target, Filters string
	StartTime, EndTime          string // RFC 3339
	StopReason, LinkType        string
	Packets                     uint64
	Sequence                    int // of a file of a rotation, 0 for a whole session
	// Of a whole session.
	PacketBytes, Dropped uint64
}

// Map is the metadata under the names that the blob has it by.
func (m *Metadata) Map() map[string]string {
	all := map[string]string{
		"name": m.Name, "host": m.Host, "target": m.Target, "filters": m.Filters, "starttime": m.StartTime, "endtime": m.EndTime,
		"stopreason": m.StopReason, "linktype": m.LinkType, "packets": strconv.FormatUint(m.Packets, 10),
	}
	if m.Sequence > 0 {
		all["sequence"] = strconv.Itoa(m.Sequence)
	} else {
		all["packetbytes"] = strconv.FormatUint(m.PacketBytes, 10)
		all["dropped"] = strconv.FormatUint(m.Dropped, 10)
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}
