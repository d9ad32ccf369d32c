package main

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pcapctl/capture/fault"
)

// counters is a result with numbers that a float64 cannot hold.
type counters struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
	Delta int64  `json:"delta"`
}

var counted = struct {
	Items   []counters `json:"items"`
	Seconds float64    `json:"seconds"`
}{[]counters{
	{"max", math.MaxUint64, math.MinInt64},
	{"small", 7, -7},
	{"next", 1<<53 + 1, -1<<53 - 1},
	{"exact", 1 << 53, -1 << 53},
	{"last", math.MaxUint64 - 1, math.MaxInt64},
}, 1.5}

func queried(t *testing.T, format, query string) (string, error) {
	t.Helper()
	o := output{format: format, query: query}
	must(t, o.check())
	var b bytes.Buffer
	err := o.print(&b, counted)
	return b.String(), err
}

// Counters pass through a query as they are, in every format.
func TestQueryKeepsNumbers(t *testing.T) {
	for _, tt := range []struct{ format, query, want string }{
		{"json", "items[0].count", "18446744073709551615\n"},
		{"json", "items[2].count", "9007199254740993\n"},
		{"json", "items[].count", "[\n  18446744073709551615,\n  7,\n  9007199254740993,\n  9007199254740992,\n  18446744073709551614\n]\n"},
		{"json", "items[].delta", "[\n  -9223372036854775808,\n  -7,\n  -9007199254740993,\n  -9007199254740992,\n  9223372036854775807\n]\n"},
		{"yaml", "items[?name=='next'] | [0].{n: count, d: delta}", "d: -9007199254740993\nn: 9007199254740993\n"},
		{"yaml", "items[0].count", "18446744073709551615\n"},
		{"tsv", "items[].[name, count]", "max\t18446744073709551615\nsmall\t7\nnext\t9007199254740993\nexact\t9007199254740992\nlast\t18446744073709551614\n"},
		{"table", "items[?name=='next'].{n: count}", "N\n-\n9007199254740993\n"},
		{"table", "items[?name=='max'].{n: count}", "N\n-\n18446744073709551615\n"},
		{"json", "seconds", "1.5\n"},
	} {
		if got, err := queried(t, tt.format, tt.query); err != nil || got != tt.want {
			t.Errorf("%s %s: %q, %v", tt.format, tt.query, got, err)
		}
	}
}

// What a query does with numbers goes on to work, between large ones, too.
func TestQueryComparesNumbers(t *testing.T) {
	for query, want := range map[string]string{
		"items[?count > `5`].name":                "max small next exact last",
		"items[?count > `7`].name":                "max next exact last",
		"items[?count == `7`].name":               "small",
		"items[?count < `9007199254740992`].name": "small",
		"items[?delta < `-7`].name":               "max next exact",
		"sort_by(items, &count)[].name":           "small exact next last max",
		"sort_by(items, &delta)[].name":           "max next exact small last",
		"max(items[].count)":                      "18446744073709551615",
		"min(items[].delta)":                      "-9223372036854775808",
		"max_by(items, &count).name":              "max",
		"sort(items[].count)[-2:]":                "18446744073709551614 18446744073709551615",
		"sum(items[?count < `10`].count)":         "7",
		"sum([`1`, seconds])":                     "2.5",
		"length(items)":                           "5",
		"type(items[0].count)":                    "number",
		"items[2].count == items[3].count":        "false",
		"items[2].count > items[3].count":         "true",
		"contains(items[].count, items[2].count)": "true",
		"abs(items[2].delta)":                     "9007199254740993",
	} {
		got, err := queried(t, "tsv", query)
		if got = strings.Join(strings.Fields(got), " "); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
}

// A query that cannot be applied is an error of its own kind, also where the
// library panics.
func TestQueryNotApplicable(t *testing.T) {
	for _, query := range []string{"sum(items)", "contains(items, items[0])"} {
		if _, err := queried(t, "json", query); !errors.Is(err, errQuery) || fault.ClassOf(err) != fault.Invalid {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// az takes a word between backticks for a text, and many of its examples have it: the
// error says how it is written.
func TestQueryWithBackticks(t *testing.T) {
	const says = "write a text in single quotes"
	for query, told := range map[string]bool{"[?name==`web`]": true, "[[": false} {
		if err := (&output{format: "json", query: query}).check(); fault.ClassOf(err) != fault.Invalid || strings.Contains(err.Error(), says) != told {
			t.Errorf("%s: %v", query, err)
		}
		_, err := (&waitFlags{custom: query}).condition()
		if fault.ClassOf(err) != fault.Invalid || strings.Contains(err.Error(), says) != told {
			t.Errorf("--custom %s: %v", query, err)
		}
	}
}
