package main

import (
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

// describeEnd says in a line what came of a session, to go on after its name
// and what was done to it.
func describeEnd(s *registry.Session) string {
	if s.Record == nil {
		return "; its record cannot be read"
	}
	p := &s.Record.Resource.Properties
	return because(p.StopReason) + ": " + plural(p.Statistics.PacketsCaptured, "packet") + " in " +
		s.Elapsed.Round(time.Millisecond).String() + ", " + describeSaved(p.Statistics)
}

// because is a stop reason as it is spelt everywhere else, for scripts that
// look for it.
func because(r capture.StopReason) string {
	if r == "" {
		return ""
	}
	return " (" + string(r) + ")"
}

// describeSaved says where a session's packets are.
func describeSaved(st *capture.Statistics) string {
	saved := slices.Concat(st.Files, st.Blobs)
	list := make([]string, 0, len(saved))
	for _, f := range saved {
		list = append(list, f.Path+" ("+humanize.IBytes(uint64(f.SizeInBytes))+")")
	}
	return strings.Join(list, ", ")
}
