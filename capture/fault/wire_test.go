package fault

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The codes are in the records of sessions that older programs have written.
var classCodes = map[Class]string{
	Internal: "InternalServerError", Invalid: "BadRequest", Forbidden: "Forbidden", NotFound: "NotFound", Conflict: "Conflict",
	Failed: "CaptureFailed", LocalFile: "LocalFileFailed", Storage: "StorageFailed", Dropped: "PacketsDropped", TimedOut: "TimedOut",
}

func TestEveryClassIsFoundByItsCode(t *testing.T) {
	// A class is a small number, so that all there could be can be tried: a class
	// that is missing in the list above is found as well.
	for i := range 256 {
		c := Class(i)
		code, ok := classCodes[c]
		if !ok {
			if c.Code() != Internal.Code() {
				t.Errorf("class %d has the code %s, and this test does not know it", c, c.Code())
			}
			continue
		}
		if got, ok := ClassOfCode(code); c.Code() != code || got != c || !ok {
			t.Errorf("class %d: code %s, want %s; by that code: %d, %v", c, c.Code(), code, got, ok)
		}
	}
	for _, code := range []string{"", "AgentStopped", "forbidden"} {
		if c, ok := ClassOfCode(code); c != Internal || ok {
			t.Errorf("%q: %d, %v", code, c, ok)
		}
	}
}

func TestReportIsReadBack(t *testing.T) {
	send := func(err error) error {
		t.Helper()
		text, jerr := json.Marshal(ReportOf(err))
		if jerr != nil {
			t.Fatal(jerr)
		}
		var r Report
		if jerr := json.Unmarshal(text, &r); jerr != nil {
			t.Fatal(jerr)
		}
		return r.Err()
	}
	if err := send(nil); err != nil {
		t.Errorf("success became %v", err)
	}
	for class := range classCodes {
		want := &Error{Class: class, Code: "Special", Message: "it is broken", Target: "x", Details: []Detail{{"c", "m", "t"}, {Message: "n"}}}
		if d := cmp.Diff(error(want), send(fmt.Errorf("wrapped: %w", want))); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff(error(&Error{Message: "a: file does not exist"}), send(fmt.Errorf("a: %w", fs.ErrNotExist))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(error(&Error{Class: Forbidden, Message: "a: permission denied"}), send(Errorf(Forbidden, "a: %w", fs.ErrPermission)),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Err" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

func TestReportsOfOtherPrograms(t *testing.T) {
	for text, want := range map[string]error{
		`{"class":""}`: nil,
		`{}`:           nil,
		`{"class":"CaptureFailed","code":"AgentStopped","message":"m","target":"t"}`: &Error{Class: Failed, Code: "AgentStopped", Message: "m", Target: "t"},
		`{"class":"Tomorrow","message":"m","later":1}`:                               &Error{Class: Internal, Message: "m"},
	} {
		var r Report
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, r.Err()); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}

// A record may be another user's, and what it says goes to a terminal.
func TestReportsAreShownAsText(t *testing.T) {
	r := Report{Class: "CaptureFailed", Code: "a\x1b[2J", Message: "é “x”\n\x1b]0;title\a\u202e", Target: "\x00\x7f", Details: []Detail{{"\r", "\u009b", "\b"}}}
	before := r.Details[0]
	want := &Error{
		Class: Failed, Code: "a\ufffd[2J", Message: "é “x”\n\ufffd]0;title\ufffd\ufffd", Target: "\ufffd\ufffd",
		Details: []Detail{{"\ufffd", "\ufffd", "\ufffd"}},
	}
	if d := cmp.Diff(error(want), r.Err()); d != "" {
		t.Error(d)
	}
	if r.Details[0] != before {
		t.Error("the report itself was changed")
	}
}
