package main

import (
	"testing"
	"time"

	"pcapctl/filter"
)

// Numbers of the request have units wherever a flag or a setting gives them.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parse func(string) (*int64, error)
		text  string
		want  int64
	}{
		{secondCount, "10", 10}, {secondCount, "10s", 10}, {secondCount, "5m", 300}, {secondCount, "1h30m", 5400}, {secondCount, "1d", 86400}, {secondCount, "-3", -3},
		{byteCount, "1000", 1000}, {byteCount, "10MB", 10_000_000}, {byteCount, "10MiB", 10 << 20}, {byteCount, "96B", 96}, {byteCount, "1.5kB", 1500}, {byteCount, "-1", -1},
	} {
		got, err := test.parse(test.text)
		if err != nil || *got != test.want {
			t.Errorf("%q: %v, %v; want %d", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{"", "x", "10MB", "1.5s", "nand", "infd", "9e99d", "s"} {
		if got, err := secondCount(text); err == nil {
			t.Errorf("seconds %q: %d", text, *got)
		}
	}
	for _, text := range []string{"", "x", "5h", "1 2", "99EiB"} {
		if got, err := byteCount(text); err == nil {
			t.Errorf("bytes %q: %d", text, *got)
		}
	}
	if d, err := durationOf("7d"); err != nil || d != 7*24*time.Hour {
		t.Errorf("7d: %v, %v", d, err)
	}
}

// In the short form of a filter a part without "=" is one more entry of the list
// before it.
func TestShortFilterLists(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"remotePort=80,443":                              "remote port 80 or 443",
		"protocol=TCP,remotePort=80, 443 ,22":            "TCP, remote port 22 or 80 or 443",
		"remotePort=80;443":                              "remote port 80 or 443",
		"remotePort=80;443;,22":                          "remote port 22 or 80 or 443",
		"remoteIPAddress=10.0.0.1,10.0.0.2,protocol=UDP": "UDP, remote 10.0.0.1-10.0.0.2",
	} {
		spec, err := shortFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		f, faults := filter.Parse(spec)
		if faults != nil || f.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, f, faults, want)
		}
	}
	for _, text := range []string{"80,443", "80,remotePort=443", ""} {
		if _, err := shortFilter(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// A size just below a unit is that unit.
func TestSizeText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 24: "24 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 1<<30 - 60_000: "1.0 GiB", 1 << 30: "1.0 GiB", 10_000_000: "9.5 MiB", 1000 << 20: "1000 MiB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
