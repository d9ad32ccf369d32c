package fault_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/fault"
)

// The codes are in the records of sessions that older programs have written.
var classCodes = map[fault.Class]string{
	fault.Internal: "InternalServerError", fault.Invalid: "BadRequest", fault.Forbidden: "Forbidden", fault.NotFound: "NotFound", fault.Conflict: "Conflict",
	fault.Failed: "CaptureFailed", fault.LocalFile: "LocalFileFailed", fault.Storage: "StorageFailed", fault.Dropped: "PacketsDropped", fault.TimedOut: "TimedOut",
}

func TestEveryClassIsFoundByItsCode(t *testing.T) {
	// A class is a small number, so that all there could be can be tried: a class
	// that is missing in the list above is found as well.
	for i := range 256 {
		c := fault.Class(i)
		code, ok := classCodes[c]
		if !ok {
			if c.Code() != fault.Internal.Code() {
				t.Errorf("class %d has the code %s, and this test does not know it", c, c.Code())
			}
			continue
		}
		if got, ok := fault.ClassOfCode(code); c.Code() != code || got != c || !ok {
			t.Errorf("class %d: code %s, want %s; by that code: %d, %v", c, c.Code(), code, got, ok)
		}
	}
	for _, code := range []string{"", "AgentStopped", "forbidden"} {
		if c, ok := fault.ClassOfCode(code); c != fault.Internal || ok {
			t.Errorf("%q: %d, %v", code, c, ok)
		}
	}
}

func TestReportIsReadBack(t *testing.T) {
	send := func(err error) error {
		t.Helper()
		text, jerr := json.Marshal(fault.ReportOf(err))
		if jerr != nil {
			t.Fatal(jerr)
		}
		var r fault.Report
		if jerr := json.Unmarshal(text, &r); jerr != nil {
			t.Fatal(jerr)
		}
		return r.Err()
	}
	if err := send(nil); err != nil {
		t.Errorf("success became %v", err)
	}
	for class := range classCodes {
		want := &fault.Error{Class: class, Code: "Special", Message: "it is broken", Target: "x", Details: []fault.Detail{{"c", "m", "t"}, {Message: "n"}}}
		if d := cmp.Diff(error(want), send(fmt.Errorf("wrapped: %w", want))); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff(error(&fault.Error{Message: "a: file does not exist"}), send(fmt.Errorf("a: %w", fs.ErrNotExist))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(error(&fault.Error{Class: fault.Forbidden, Message: "a: permission denied"}), send(fault.Errorf(fault.Forbidden, "a: %w", fs.ErrPermission)),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Err" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

func TestReportsOfOtherPrograms(t *testing.T) {
	for text, want := range map[string]error{
		`{"class":""}`: nil,
		`{}`:           nil,
		`{"class":"CaptureFailed","code":"AgentStopped","message":"m","target":"t"}`: &fault.Error{Class: fault.Failed, Code: "AgentStopped", Message: "m", Target: "t"},
		`{"class":"Tomorrow","message":"m","later":1}`:                               &fault.Error{Class: fault.Internal, Message: "m"},
	} {
		var r fault.Report
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
	r := fault.Report{Class: "CaptureFailed", Code: "a\x1b[2J", Message: "é “x”\n\x1b]0;title\a\u202e", Target: "\x00\x7f", Details: []fault.Detail{{"\r", "\u009b", "\b"}}}
	before := r.Details[0]
	want := &fault.Error{
		Class: fault.Failed, Code: `a\x1b[2J`, Message: "é “x”\n" + `\x1b]0;title\a\u202e`, Target: `\x00\x7f`,
		Details: []fault.Detail{{`\r`, `\u009b`, `\b`}},
	}
	if d := cmp.Diff(error(want), r.Err()); d != "" {
		t.Error(d)
	}
	if r.Details[0] != before {
		t.Error("the report itself was changed")
	}
}
