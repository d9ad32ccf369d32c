package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/registry"
)

// A capture that went to a blob only has that one's size, and the files of a
// rotation are named by the first and the last.
func TestSavedSizeAndPlace(t *testing.T) {
	t.Parallel()
	rotation := make([]capture.FileResult, 0, 3)
	for _, name := range []string{"/c/x-1.cap", "/c/x-2.cap", "/c/x-3.cap"} {
		rotation = append(rotation, capture.FileResult{Path: name, SizeInBytes: 1024})
	}
	blob := []capture.FileResult{{Path: "https://a/c/x.cap", SizeInBytes: 2048}}
	for _, test := range []struct {
		st          capture.Statistics
		size, where string
	}{
		{capture.Statistics{Files: rotation[:1]}, "1.0 KiB", "/c/x-1.cap"},
		{capture.Statistics{Files: rotation}, "3.0 KiB", "/c/x-1.cap … x-3.cap"},
		{capture.Statistics{Blobs: blob}, "2.0 KiB", "https://a/c/x.cap"},
		{capture.Statistics{Files: rotation[:1], Blobs: blob}, "1.0 KiB", "/c/x-1.cap, https://a/c/x.cap"},
		{capture.Statistics{Upload: &deliver.Status{BytesStaged: 4096}}, "4.0 KiB", ""},
	} {
		row := resourceRow(&capture.Resource{Properties: capture.ResourceProperties{Statistics: &test.st}})
		if row[colSize] != test.size || row[colSaved] != test.where {
			t.Errorf("%q, %q; want %q, %q", row[colSize], row[colSaved], test.size, test.where)
		}
	}
}

// Every packet that was lost is in the column, whoever lost it.
func TestDroppedInAList(t *testing.T) {
	t.Parallel()
	st := capture.Statistics{PacketsDroppedByKernel: 1, PacketsDroppedByInterface: 20, PacketsNotWritten: 300, PacketsDroppedAroundLimit: 4000}
	row := resourceRow(&capture.Resource{Properties: capture.ResourceProperties{Statistics: &st}})
	if row[colDropped] != "4321" {
		t.Error(row[colDropped])
	}
}

// A list fits the terminal, whatever the names are; names and paths stay whole.
func TestNarrowList(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 60)
	var v listView
	for _, name := range []string{"web", long} {
		v.sessions = append(v.sessions, &registry.Session{Name: name, State: registry.Ended, Record: &registry.Record{Resource: &capture.Resource{
			Name: name, Properties: capture.ResourceProperties{
				PacketCaptureStatus: "Error", PacketCaptureError: []string{"LocalFileFailed"}, StopReason: "LocalFileFailed", CaptureStartTime: "2031-02-03T04:05:06Z",
				Statistics: &capture.Statistics{PacketsCaptured: 1234567, PacketsNotWritten: 5, Files: []capture.FileResult{{Path: "/var/captures/" + name + ".cap", SizeInBytes: 1 << 30}}},
			},
		}}})
	}
	for _, width := range []int{80, 100, 200} {
		lines := narrowTable(v, width)
		text := strings.Join(lines, "\n")
		for _, line := range lines {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("%d columns: %s", width, line)
			}
		}
		for _, want := range []string{"Started (UTC)", long, "/var/captures/" + long + ".cap", "LocalFileFailed; 5 dropped;"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d columns: no %q in\n%s", width, want, text)
			}
		}
	}
	if lines := narrowTable(v, 40); lines != nil {
		t.Errorf("a table of 40 columns: %q", lines)
	}
	head, rows := v.table()
	for _, line := range blocks(head, rows, 40) {
		if utf8.RuneCountInString(line) > 40 && !strings.Contains(line, "nnn") {
			t.Errorf("40 columns: %s", line)
		}
	}
}

// What is shown while it captures takes one line, at every width.
func TestProgressLine(t *testing.T) {
	t.Parallel()
	now := sight{[]string{"12s of 5h0m0s", "1234567 packets", "0 dropped", "12 MiB of 1.0 GiB", "1.0 MiB of 12 MiB uploaded, trying again: \x1b[2J\nnot reached"}, 0.5}
	for width := range 250 {
		line := now.line(width)
		if utf8.RuneCountInString(line) > width || strings.ContainsAny(line, "\x1b\n") {
			t.Errorf("%d columns: %q", width, line)
		}
	}
	for width, want := range map[int]string{
		13: "12s of 5h0m0s", 30: "12s of 5h0m0s, 1234567 packets", 28: "12s of 5h0m0s, 0 dropped",
		100: "50% [=========>..........] 12s of 5h0m0s, 1234567 packets, 0 dropped, 12 MiB of 1.0 GiB",
	} {
		if got := now.line(width); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}
