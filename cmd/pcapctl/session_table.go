package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

// sessionHead has the columns of a table of sessions.
var sessionHead = []string{"name", "status", "reason", "started", "duration", "packets", "dropped", "size", "saved in"}

// sessionRow is a session as a row of that table.
func sessionRow(s *registry.Session) []string {
	row := resourceRow(s.Resource())
	row[0], row[3], row[4] = s.Name, "", ""
	if !s.Start.IsZero() {
		row[3], row[4] = showTime(s.Start), s.Elapsed.Round(time.Second).String()
	}
	if s.Record != nil && row[8] != "" {
		row[8] = s.Record.Where()
	}
	return row
}

func showTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// resourceRow is the row of a capture that is not in the registry.
func resourceRow(r *capture.Resource) []string {
	p := &r.Properties
	row := make([]string, len(sessionHead))
	row[0], row[1], row[2] = r.Name, p.PacketCaptureStatus, string(p.StopReason)
	if len(p.PacketCaptureError) > 0 {
		row[1] += " (" + strings.Join(p.PacketCaptureError, ", ") + ")"
	}
	st := p.Statistics
	if st == nil {
		return row
	}
	if start, err := time.Parse(time.RFC3339, p.CaptureStartTime); err == nil {
		row[3] = showTime(start)
		row[4] = time.Duration(st.DurationInSeconds * float64(time.Second)).Round(time.Second).String()
	}
	var size int64
	for _, f := range st.Files {
		size += f.SizeInBytes
	}
	row[5] = strconv.FormatUint(st.PacketsCaptured, 10)
	row[6] = strconv.FormatUint(st.PacketsDroppedByKernel+st.PacketsDroppedByInterface+st.PacketsNotWritten, 10)
	row[7] = humanize.IBytes(uint64(size))
	row[8] = st.Where()
	return row
}

// resourceView is the API's resource of a capture that this process made.
type resourceView struct{ *capture.Resource }

func (v resourceView) table() (head []string, rows [][]string) {
	return sessionHead, [][]string{resourceRow(v.Resource)}
}
