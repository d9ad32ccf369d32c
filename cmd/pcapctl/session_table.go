package main

import (
	"path"
	"strconv"
	"strings"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
)

// sessionHead has the columns of a table of sessions.
var sessionHead = []string{"name", "status", "reason", "started (UTC)", "duration", "packets", "dropped", "size", "saved in"}

// The columns of sessionHead.
const (
	colName = iota
	colStatus
	colReason
	colStarted
	colDuration
	colPackets
	colDropped
	colSize
	colSaved
)

// sessionRow is a session as a row of that table.
func sessionRow(s *registry.Session) []string {
	row := resourceRow(s.Resource())
	row[colName], row[colStarted], row[colDuration] = s.Name, "", ""
	if !s.Start.IsZero() {
		row[colStarted], row[colDuration] = showTime(s.Start), s.Elapsed.Round(time.Second).String()
	}
	return row
}

func showTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// resourceRow is the row of a capture that is not in the registry.
func resourceRow(r *capture.Resource) []string {
	p := &r.Properties
	row := make([]string, len(sessionHead))
	row[colName], row[colStatus], row[colReason] = r.Name, p.PacketCaptureStatus, string(p.StopReason)
	if len(p.PacketCaptureError) > 0 {
		row[colStatus] += " (" + strings.Join(p.PacketCaptureError, ", ") + ")"
	}
	st := p.Statistics
	if st == nil {
		return row
	}
	if start, err := time.Parse(time.RFC3339, p.CaptureStartTime); err == nil {
		row[colStarted] = showTime(start)
		row[colDuration] = st.Duration().Round(time.Second).String()
	}
	row[colPackets] = strconv.FormatUint(st.PacketsCaptured, 10)
	row[colDropped] = strconv.FormatUint(st.Dropped(), 10)
	row[colSize] = sizeText(savedSize(st))
	if row[colSaved] = savedIn(st); isStream(&p.Properties) {
		row[colSaved] = toStdout
	}
	return row
}

// savedSize is how many bytes a capture has, wherever they are: in its files, or,
// where it went to blobs only, in those.
func savedSize(st *capture.Statistics) int64 {
	saved := st.Files
	if len(saved) == 0 {
		saved = st.Blobs
	}
	var size int64
	for _, f := range saved {
		size += f.SizeInBytes
	}
	if size == 0 && len(saved) == 0 && st.Upload != nil {
		size = st.Upload.BytesStaged
	}
	return size
}

// savedIn names the files and blobs of a capture. Those of a rotation are named by
// the first and the last.
func savedIn(st *capture.Statistics) string {
	var list []string
	for _, saved := range [][]capture.FileResult{st.Files, st.Blobs} {
		switch n := len(saved); {
		case n > 1:
			list = append(list, saved[0].Path+" … "+path.Base(saved[n-1].Path))
		case n == 1:
			list = append(list, saved[0].Path)
		}
	}
	return strings.Join(list, ", ")
}

// toStdout is where a stream goes, for people.
const toStdout = "standard output"

// isStream reports whether a capture went to standard output.
func isStream(p *request.Properties) bool {
	l := p.StorageLocation
	return l != nil && l.FilePath != nil && *l.FilePath == request.StandardOutput
}

// narrowHead has the columns of a table of sessions for narrow terminals; what the
// others say stands below a row.
var narrowHead = []string{"name", "status", "started (UTC)", "duration", "packets", "size"}

func narrowSession(s *registry.Session) narrowRow {
	row := sessionRow(s)
	status, _, _ := strings.Cut(row[colStatus], " ")
	below := row[colSaved]
	if dropped := row[colDropped]; dropped != "" && dropped != "0" {
		below = dropped + " dropped; " + below
	}
	if row[colReason] != "" {
		below = row[colReason] + "; " + below
	}
	return narrowRow{[]string{row[colName], status, row[colStarted], row[colDuration], row[colPackets], row[colSize]}, below}
}

// resourceView is the API's resource of a capture that this process made.
type resourceView struct{ *capture.Resource }

func (v resourceView) table() (head []string, rows [][]string) {
	return sessionHead, [][]string{resourceRow(v.Resource)}
}
