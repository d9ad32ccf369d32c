package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestErrorf(t *testing.T) {
	err := error(Errorf(NotFound, "open %s: %w", "x", fs.ErrNotExist))
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "open x: file does not exist" || ClassOf(err) != NotFound {
		t.Errorf("got %v", err)
	}
	if err := Errorf(Failed, "no cause"); err.Unwrap() != nil {
		t.Errorf("a cause: %v", err.Unwrap())
	}
}

func TestClassOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Class
	}{
		{fs.ErrNotExist, Internal},
		{Errorf(Conflict, "x"), Conflict},
		{fmt.Errorf("wrapped: %w", Errorf(Conflict, "x")), Conflict},
		{errors.Join(fs.ErrNotExist, Errorf(Storage, "x"), Errorf(Conflict, "y")), Storage},
		{Errorf(LocalFile, "outer: %w", Errorf(Conflict, "x")), LocalFile},
	} {
		if got := ClassOf(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got.Code(), tt.want.Code())
		}
	}
}

// Each class has a code of its own, which scripts tell them apart by.
func TestCodes(t *testing.T) {
	seen := map[string]Class{}
	for c := Internal; c <= TimedOut; c++ {
		code := c.Code()
		if other, twice := seen[code]; code == "" || twice {
			t.Errorf("classes %d and %d have the code %q", other, c, code)
		}
		seen[code] = c
	}
	for c, want := range map[Class]string{Failed: "CaptureFailed", LocalFile: "LocalFileFailed", Storage: "StorageFailed", Dropped: "InternalError", Invalid: "InternalError"} {
		if got := c.CaptureError(); got != want {
			t.Errorf("class %d: %q, want %q", c, got, want)
		}
	}
}

func details(n int) []Detail {
	list := make([]Detail, n)
	for i := range list {
		list[i] = Detail{Code: CodeInvalidValue, Message: fmt.Sprint("message ", i), Target: fmt.Sprint("target", i)}
	}
	return list
}

func TestOfRequest(t *testing.T) {
	if err := OfRequest(nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	for _, tt := range []struct {
		n, listed    int
		message      string
		code, target string
		first        string // of what Error says
	}{
		{1, 1, "message 0", CodeInvalidValue, "target0", "target0: message 0"},
		{2, 2, "the request has 2 faults", CodeInvalidValue, "", "the request has 2 faults\n  target0: message 0\n  target1: message 1"},
		{MaxFaults, MaxFaults, "the request has 100 faults", CodeInvalidValue, "", "the request has 100 faults\n  target0: message 0\n"},
		{MaxFaults + 1, MaxFaults, "the request has more than 100 faults, the first 100 are listed", CodeInvalidValue, "", "the request has more than 100 faults, the first 100 are listed\n  target0: message 0\n"},
	} {
		err := OfRequest(details(tt.n))
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Class != Invalid || e.Message != tt.message || e.Code != tt.code || e.Target != tt.target || len(e.Details) != tt.listed {
			t.Errorf("%d: %+v", tt.n, e)
		}
		if !strings.HasPrefix(err.Error(), tt.first) || strings.Count(err.Error(), "message ") != tt.listed {
			t.Errorf("%d: %s", tt.n, err)
		}
	}
	// A message of several lines stays together.
	err := OfRequest([]Detail{{Code: "a", Message: "one\nline"}, {Code: "b", Message: "two", Target: "t"}})
	if want := "the request has 2 faults\n  one\n    line\n  t: two"; err.Error() != want {
		t.Errorf("got %s", err)
	}
}

func TestJoin(t *testing.T) {
	of := func(list ...Detail) error { return OfRequest(list) }
	bad := func(target string) Detail { return Detail{CodeInvalidValue, "bad", target} }
	missing := func(target string) Detail { return Detail{CodeMissing, "missing", target} }
	other := Errorf(NotFound, "no such thing")
	alone := &Error{Class: Invalid, Code: "X", Message: "m", Target: "t"} // without details
	for _, tt := range []struct {
		name string
		errs []error
		want []Detail
	}{
		{"in their order", []error{of(bad("a"), bad("b")), nil, of(bad("c"))}, []Detail{bad("a"), bad("b"), bad("c")}},
		{"without details", []error{alone, alone}, []Detail{{"X", "m", "t"}, {"X", "m", "t"}}},
		{"missing what could not be read", []error{of(bad("a.b")), of(missing("a.b"), missing("a"), missing("a.c"))}, []Detail{bad("a.b"), missing("a.c")}},
		{"missing what holds a list that could not be read", []error{of(bad("a[1].b")), of(missing("a"))}, []Detail{bad("a[1].b")}},
		{"a name that begins alike", []error{of(bad("ab")), of(missing("a"))}, []Detail{bad("ab"), missing("a")}},
		{"missing for want of a path", []error{of(bad("a")), of(missing(""))}, []Detail{bad("a"), missing("")}},
		{"no destination", []error{of(bad("s.filePath")), of(Detail{CodeNoDestination, "none", "s"}, Detail{CodeNoContinuousDest, "none", "s"})}, []Detail{bad("s.filePath")}},
		{"not valid is said twice", []error{of(bad("a")), of(bad("a"))}, []Detail{bad("a"), bad("a")}},
		{"missing, of one step", []error{of(bad("a.b"), missing("a"))}, []Detail{bad("a.b"), missing("a")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, ok := errors.AsType[*Error](Join(tt.errs...))
			if !ok || e.Class != Invalid {
				t.Fatalf("got %v", e)
			}
			if diff := cmp.Diff(tt.want, e.Details); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := Join(nil, nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := Join(nil, alone, nil); err != error(alone) { //nolint:errorlint // the very same
		t.Errorf("one alone is changed: %v", err)
	}
	if err := Join(alone, other, alone); err != error(other) { //nolint:errorlint // the very same
		t.Errorf("another class: %v", err)
	}
	if err := Join(alone, fs.ErrClosed); !errors.Is(err, fs.ErrClosed) || ClassOf(err) != Internal {
		t.Errorf("no class: %v", err)
	}
	// The first error's own list is not written to.
	first := of(slicesOf(bad("a"))...)
	_ = Join(first, of(bad("b")))
	_ = Join(first, of(bad("c")))
	if e, _ := errors.AsType[*Error](first); len(e.Details) != 1 || cap(e.Details) > 1 && e.Details[:2][1].Target != "" {
		t.Errorf("changed: %+v", e.Details[:cap(e.Details)])
	}
}

// slicesOf is a list with room behind it.
func slicesOf(d Detail) []Detail { return append(make([]Detail, 0, 4), d) }

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"ab", "ba", 1}, {"abcd", "badc", 2},
		{"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"intention", "execution", 5}, {"subscriptionid", "packetcapturename", 14},
	} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := editDistance(tt.b, tt.a); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	if got := Nearest("wbe", []string{"db", "web"}); got != "web" {
		t.Errorf("wbe: %q", got)
	}
	if got := Nearest("filetr", []string{"file", "filters", "filter"}); got != "filter" {
		t.Errorf("filetr: %q", got)
	}
	known := []string{"target", "targetType", "startTime", "id"}
	for given, want := range map[string]string{
		"target": "target", "TARGT": "target", "targettypes": "targetType", "start_time": "startTime", "subscriptionId": "", "": "",
		"ix": "id", "xy": "", "di": "id", "tragte": "target", strings.Repeat("target", 1000): "",
	} {
		if got := Nearest(given, known); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for given, want := range map[string]string{
		"":                          `""`,
		`C:\x "y"`:                  `"C:\x "y""`,
		"größe":                     `"größe"`,
		"a\x1b[31m":                 `"a\x1b[31m"`,
		"a\nb":                      `"a\nb"`,
		"a\u202eb":                  `"a\u202eb"`,
		"a\xffb":                    `"a\xffb"`,
		"https://x/?sv=1&sig=AbC%2": `"https://x/?sv=1&sig=*****"`,
		strings.Repeat("é", 120):    `"` + strings.Repeat("é", 120) + `"`,
		strings.Repeat("é", 121):    `"` + strings.Repeat("é", 120) + `…"`,
	} {
		if got := Quote(given); got != want {
			t.Errorf("%q: %s, want %s", given, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	for given, want := range map[string]string{
		"":                            "",
		"nothing":                     "nothing",
		"sig=abc":                     "sig=***",
		"SIG=abc&se=1":                "SIG=***&se=1",
		"sig%3Dabc%2Bd&x":             "sig%3D*******&x",
		"AccountKey=a/b==;x":          "AccountKey=*****;x",
		`"?sig=äö" "?sig=c"`:          `"?sig=**" "?sig=*"`,
		"signature=x, sig= and sig=;": "signature=x, sig= and sig=;",
	} {
		got := Mask(given)
		if got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
		if HoldsSecret(given) != (got != given) {
			t.Errorf("%q: holds a secret: %t", given, HoldsSecret(given))
		}
	}
}

// Whatever is quoted can be shown: it is short, has no secret in it and nothing
// that a terminal would obey.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "x", "a\x1b[31m", "?sig=abc&AccountKey%3dx", strings.Repeat("é", 200), "a\xffsig=\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		masked := Mask(s)
		if utf8.RuneCountInString(masked) != utf8.RuneCountInString(s) || Mask(masked) != masked || HoldsSecret(s) != HoldsSecret(masked) {
			t.Fatalf("%q is masked as %q", s, masked)
		}
		for _, hit := range secret().FindAllStringSubmatch(masked, -1) {
			if strings.Trim(hit[1], "*") != "" {
				t.Fatalf("%q is masked as %q", s, masked)
			}
		}
		q := Quote(s)
		const longest = 10 // what strconv.Quote makes of one character, at most
		if utf8.RuneCountInString(q) > longest*(maxShown+1)+2 || !strings.HasPrefix(q, `"`) || !strings.HasSuffix(q, `"`) {
			t.Fatalf("%q is quoted as %s", s, q)
		}
		if strings.ContainsFunc(q, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q is quoted as %q", s, q)
		}
	})
}
