package hostcontext

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of a document that is read. Those that are written are smaller. An object of two bytes takes hundreds in
// memory, so that a bound of bytes alone would not do.
const (
	maxDocument = 64 << 20
	maxObjects  = 100_000
	maxValues   = 2_000_000
)

// ErrNotContext means that a file is not the context of a capture.
var ErrNotContext = errors.New("it is not the context of a capture")

// Read reads a document of any bytes: it may be damaged or forged. What it gives is of
// bounded size, and its names fit into one line each. One of a capture that was killed is
// as it was at the start: Complete is false.
//
// Errors, for errors.Is: ErrNotContext; those of r.
func Read(r io.Reader) (*Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrNotContext, maxDocument)
	}
	var head struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotContext, err)
	}
	if head.SchemaVersion != SchemaVersion {
		return nil, fmt.Errorf("%w that this pcapctl reads: its schemaVersion is %d, and %d is known", ErrNotContext, head.SchemaVersion, SchemaVersion)
	}
	if objects, values := count(text); objects > maxObjects || values > maxValues {
		return nil, fmt.Errorf("%w: it has more than %d objects or %d values", ErrNotContext, maxObjects, maxValues)
	}
	d := &Document{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotContext, err)
	}
	for i := range d.Sockets {
		s := &d.Sockets[i]
		for _, text := range []*string{&s.Protocol, &s.State, &s.Program, &s.Command, &s.User} {
			*text = clean(*text)
		}
		s.Container = cut(cleanLine(s.Container), 3*maxWord)
	}
	d.Counters = slices.DeleteFunc(d.Counters[:min(len(d.Counters), maxCounters)], func(m Moved) bool {
		return m.Name == "" || clean(m.Name) != m.Name
	})
	for _, text := range []*string{&d.Host, &d.Session, &d.Capture} {
		*text = cut(cleanLine(*text), maxLine)
	}
	d.Problems = d.Problems[:min(len(d.Problems), 64)]
	for i := range d.Problems {
		d.Problems[i] = cut(cleanLine(d.Problems[i]), maxLine)
	}
	return d, nil
}

// count counts the objects of a valid JSON text, and the commas: there is one behind each value of a list but the last.
func count(text []byte) (objects, values int) {
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{':
			objects++
		case c == ',':
			values++
		}
	}
	return objects, values
}

// maxLine bounds a line of a document that is read, in bytes.
const maxLine = 1 << 10

// cleanLine is clean for a text of any length.
func cleanLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, cleanText(text))
}

// Has reports whether an address was one of the machine's own.
func (d *Document) Has(a netip.Addr) bool {
	if d.own == nil {
		d.own = map[netip.Addr]bool{}
		for _, m := range []*Machine{d.Start, d.End} {
			if m == nil {
				continue
			}
			for _, i := range m.Interfaces {
				for _, text := range i.Addresses {
					if p, err := netip.ParsePrefix(text); err == nil {
						d.own[p.Addr()] = true
					}
				}
			}
		}
	}
	return a.IsLoopback() || d.own[a]
}

// Owners finds whose a flow is.
type Owners struct {
	by    map[ends][]*Socket
	own   func(netip.Addr) bool
	slack time.Duration
}

type ends struct {
	protocol      string
	local, remote netip.AddrPort
}

// Owners indexes the sockets that have a name.
func (d *Document) Owners() *Owners {
	o := &Owners{by: map[ends][]*Socket{}, own: d.Has, slack: every}
	for i := range d.Sockets {
		if s := &d.Sockets[i]; s.Program != "" {
			k := ends{s.Protocol, s.Local, s.Remote}
			o.by[k] = append(o.by[k], s)
		}
	}
	return o
}

// every is how often sockets are looked at.
const every = time.Second

// maxOwners bounds the sockets of one flow that are told.
const maxOwners = 4

// Of gives the sockets at one end of a flow that had packets from one time to another:
// those that are connected to the other end, or else one that listens at the local
// address. Two programs that used the same ports one after the other within the times of
// the flow are both given.
func (o *Owners) Of(protocol string, local, remote netip.AddrPort, from, until time.Time) (list []*Socket, listens bool) {
	if list = o.in(ends{protocol, local, remote}, from, until); len(list) > 0 {
		return list, false
	}
	if !o.own(local.Addr()) {
		return nil, false
	}
	for _, at := range []netip.AddrPort{local, netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())} {
		if at.Addr().Is4() && !local.Addr().Is4() {
			continue
		}
		if list = o.in(ends{protocol, at, netip.AddrPort{}}, from, until); len(list) > 0 {
			return list, true
		}
	}
	return nil, false
}

// in are the sockets of two ends at a time. Those that were seen within it go before
// those that may have been there a moment before or after.
func (o *Owners) in(k ends, from, until time.Time) (list []*Socket) {
	for _, slack := range []time.Duration{0, o.slack} {
		for _, s := range o.by[k] {
			if !s.First.After(until.Add(slack)) && !s.Last.Before(from.Add(-slack)) && len(list) < maxOwners {
				list = append(list, s)
			}
		}
		if list != nil {
			return list
		}
	}
	return nil
}

// Name is the program of a socket for people: with what the process calls itself, its
// process, its user and its container.
func (s *Socket) Name() string {
	name := s.Program
	if s.Command != "" {
		name += " (" + s.Command + ")"
	}
	if s.PID != 0 {
		name += fmt.Sprintf(", process %d", s.PID)
	}
	if s.User != "" {
		name += ", user " + s.User
	}
	if s.Container != "" {
		name += ", container " + s.Container
	}
	return name
}
