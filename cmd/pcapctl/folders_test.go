package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pcapctl/capture/fault"
	"pcapctl/capture/inspect"
)

// TestRelativeFolders: the folder of a flag is relative to the one that its user is in. That of the
// environment has no such folder, and a ~ that no shell has replaced is none.
func TestRelativeFolders(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PCAPCTL_STATE_DIR", filepath.Join(dir, "state"))
	must(t, os.WriteFile("in.cap", emptyCapture(), 0o600))
	for _, test := range []struct {
		flag, environment string
		code              int
		want              string
	}{
		{"--captures-dir=caps", "", 0, filepath.Join(dir, "caps", "x.cap")},
		{"--captures-dir=./caps/../other/", "", 0, filepath.Join(dir, "other", "x.cap")},
		{"--captures-dir=~/caps", "", 2, `"~/caps", is not an absolute path; set captures-dir to one`},
		{"--quiet", "caps", 2, `"caps", is not an absolute path; set captures-dir to one`},
	} {
		t.Setenv("PCAPCTL_CAPTURES_DIR", test.environment)
		var out, errs bytes.Buffer
		code := run([]string{"create", "--read-file", "in.cap", "-n", "x", "-o", "tsv", "--query", "properties.storageLocation.filePath", test.flag}, nil, &out, &errs)
		if told := out.String() + errs.String(); code != test.code || !strings.Contains(told, test.want) {
			t.Errorf("%+v: exit code %d: %s", test, code, told)
		}
	}
}

// emptyCapture is a pcap file without packets.
func emptyCapture() []byte {
	return []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0}
}

// TestFilesOfARingThatTurns: a file that a ring has removed since it was listed is no failure; one that
// nobody removes but by hand is.
func TestFilesOfARingThatTurns(t *testing.T) {
	gone := fault.Errorf(fault.NotFound, "gone: %w", fs.ErrNotExist)
	for _, test := range []struct {
		growing  bool
		failures int // before it opens
		wrong    error
		want     int // tries
		ok       bool
	}{
		{true, 2, gone, 3, true},
		{true, 100, gone, openTries, false},
		{false, 1, gone, 1, false},
		{true, 1, fault.Errorf(fault.Forbidden, "no"), 1, false},
	} {
		tries := 0
		_, captures, err := openAll(func() (inspected, error) { return inspected{growing: test.growing}, nil }, func(inspected) (*inspect.Captures, error) {
			if tries++; tries <= test.failures {
				return nil, test.wrong
			}
			return &inspect.Captures{}, nil
		})
		if tries != test.want || (err == nil) != test.ok || (captures != nil) != test.ok {
			t.Errorf("%+v: %d tries, %v", test, tries, err)
		}
	}
}
