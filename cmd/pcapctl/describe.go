package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

// describeEnd describes in one line how a session ended. It follows the session's
// name in a message.
func describeEnd(s *registry.Session) string {
	switch {
	case s.State == registry.Foreign:
		return ", a session of another user (" + s.Owner + ")"
	case s.Record == nil:
		return "; its record cannot be read"
	}
	p := &s.Record.Resource.Properties
	where := describeSaved(p.Statistics)
	if isStream(&p.Properties) {
		where = "to " + toStdout
	}
	return because(p.StopReason) + ": " + plural(p.Statistics.PacketsCaptured, "packet") + " in " +
		s.Elapsed.Round(time.Millisecond).String() + ", " + where
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
		list = append(list, f.Path+" ("+sizeText(f.SizeInBytes)+")")
	}
	return strings.Join(list, ", ")
}

// describeLeft says which files of a session that was deleted are left. An
// --on-file command, or somebody, may have moved them. Blobs are not looked for.
func describeLeft(st *capture.Statistics) string {
	left := &capture.Statistics{Blobs: st.Blobs}
	var gone []string
	files := st.Files
	if c := st.Context; c != nil && c.Path != "" {
		files = append(slices.Clip(files), capture.FileResult{Path: c.Path, SizeInBytes: c.SizeInBytes})
	}
	if c := st.Context; c != nil && c.Blob != "" {
		left.Blobs = append(slices.Clip(left.Blobs), capture.FileResult{Path: c.Blob, SizeInBytes: c.SizeInBytes})
	}
	for _, f := range files {
		if _, err := os.Lstat(f.Path); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, f.Path)
		} else {
			left.Files = append(left.Files, f)
		}
	}
	var parts []string
	if text := describeSaved(left); text != "" {
		parts = append(parts, "still there: "+text)
	}
	if gone != nil {
		parts = append(parts, "no longer there: "+strings.Join(gone, ", "))
	}
	if parts == nil {
		return "it had saved no file"
	}
	return strings.Join(parts, "; ")
}
