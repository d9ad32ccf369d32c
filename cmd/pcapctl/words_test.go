package main

import (
	"runtime"
	"strings"
	"testing"

	"pcapctl/capture"
)

// A path can be pasted into a shell. A capture by sudo belongs to root: its user reads it
// by sudo, too.
func TestHowToRead(t *testing.T) {
	t.Parallel()
	paths, as := map[string]string{
		"/c/x.cap":     "tcpdump -nr /c/x.cap",
		"/c/a b's.cap": `tcpdump -nr '/c/a b'\''s.cap'`,
		"/c/x.cap.zst": "zstdcat /c/x.cap.zst | tcpdump -nr -",
		"/c/x.pcap.GZ": "zcat /c/x.pcap.GZ | tcpdump -nr -",
		"/c/$(rm).cap": "tcpdump -nr '/c/$(rm).cap'",
	}, "sudo "
	if runtime.GOOS == "windows" {
		paths, as = map[string]string{
			`C:\c\x.cap`:         `pcapctl inspect C:\c\x.cap`,
			`C:\c\a b's.cap`:     `pcapctl inspect "C:\c\a b's.cap"`,
			`C:\c\x.cap.zst`:     `pcapctl inspect C:\c\x.cap.zst`,
			`C:\c\$(a)'s.cap`:    `pcapctl inspect 'C:\c\$(a)''s.cap'`,
			"C:\\c\\x\u202e.cap": `pcapctl inspect "C:\\c\\x\u202e.cap"`,
		}, ""
	}
	for path, want := range paths {
		if got := howToRead(&capture.Statistics{Files: []capture.FileResult{{Path: path}}}, false); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if got := howToRead(&capture.Statistics{Files: []capture.FileResult{{Path: path}}}, true); got != as+want {
			t.Errorf("%s by sudo: %s, want %s%s", path, got, as, want)
		}
	}
	if got := howToRead(&capture.Statistics{}, true); got != "" {
		t.Errorf("without a file: %s", got)
	}
}

// Help names the places and shells of the system that it is read on.
func TestHelpNamesThisSystem(t *testing.T) {
	t.Parallel()
	foreign := []string{`C:\`, "%ProgramData%", "cmd.exe"}
	if runtime.GOOS == "windows" {
		foreign = []string{"/etc", "/var", "sudo", "XDG", " sh ", "\\\n", "--netns", "--sandbox", "--container"}
	}
	for _, args := range [][]string{{"--help"}, {"create", "--help"}, {"validate", "--help"}, {"interfaces", "--help"}, {"upload", "--help"}, {"inspect", "--help"}, {"list", "--help"}} {
		var out, errs strings.Builder
		if code := run(args, strings.NewReader(""), &out, &errs); code != 0 {
			t.Fatal(args, code, errs.String())
		}
		for _, word := range foreign {
			if strings.Contains(out.String(), word) {
				t.Errorf("pcapctl %s has %q:\n%s", strings.Join(args, " "), word, out.String())
			}
		}
	}
}
