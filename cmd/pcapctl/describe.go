package main

import (
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

// describeEnd describes in one line how a session ended. It follows the session's
// name in a message.
func describeEnd(s *registry.Session) string {
	if s.Record == nil {
		return "; its record cannot be read"
	}
	p := &s.Record.Resource.Properties
	return because(p.StopReason) + ": " + plural(p.Statistics.PacketsCaptured, "packet") + " in " +
		s.Elapsed.Round(time.Millisecond).String() + ", " + describeSaved(p.Statistics)
}

// sayNothing says what a session that has ended looked at, where no packet matched.
func (a *app) sayNothing(s *registry.Session) {
	if s.Record == nil || s.Failure() != nil {
		return
	}
	if why := explainNothing(&s.Record.Resource.Properties, s.Record.Source); why != "" {
		a.say("%s: %s", s.Name, why)
	}
}

// because puts a stop reason into a message, spelt as in the result, for scripts
// that search for it.
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
