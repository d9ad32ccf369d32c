package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
)

// endedSession makes a session that has ended, of a file that is there, and gives
// the path of its record.
func endedSession(t *testing.T, state, name string) (record, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name+".cap")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	c, err := request.NewConfig(&request.Request{Name: &name, Properties: &request.Properties{
		Target: new("/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation: &request.StorageLocation{
			FilePath: &file, StoragePath: new("https://roots.blob.core.windows.net/captures/" + name + ".cap"),
			StorageID: new("/subscriptions/0/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/roots"),
		},
	}}, request.Host{Name: "h", CapturesDir: filepath.Dir(file)})
	must(t, err)
	res := &capture.Result{Config: c, Started: time.Now(), Files: []save.File{{Path: file, Size: 1}}}
	claim, err := registry.New(state).Claim(registry.Record{Name: name, Created: time.Now(), Resource: res.Resource()}, false)
	must(t, err)
	must(t, claim.End(res, nil))
	return filepath.Join(state, name, "record.json"), file
}

// forOthers gives a session to another user, as if that user had made it.
func forOthers(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run the tests as root")
		}
		t.Skip("needs root, to give a session to another user")
	}
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, 23001, 23001))
	}))
}

// A record of another user names a file of root's and a blob of that user's. Neither
// by name nor by the file's path is it sent there, also when the record is newer than
// root's own of the same file.
func TestUploadBelievesNoRecordOfOthers(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	own, file := endedSession(t, state, "own")
	text, err := os.ReadFile(own)
	must(t, err)
	forged, _ := endedSession(t, state, "forged")
	must(t, os.WriteFile(forged, bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(`"name": "own"`), []byte(`"name": "forged"`)), []byte("roots"), []byte("bobs")), 0o600))
	forOthers(t, filepath.Dir(forged))
	before, err := os.ReadDir(filepath.Dir(forged))
	must(t, err)

	a, reg := &app{err: t.Output()}, registry.New(state)
	var j deliver.Job
	s, err := a.uploadOf(reg, file, &j)
	must(t, err)
	must(t, j.File.Close())
	if s.Name != "own" || !strings.Contains(j.StoragePath, "//roots.") || j.File.Name() != file {
		t.Errorf("session %s, to %s", s.Name, j.StoragePath)
	}
	// Without root's own record nobody knows the file.
	must(t, os.RemoveAll(filepath.Dir(own)))
	var k deliver.Job
	if s, err := a.uploadOf(reg, file, &k); s != nil || k.File != nil || fault.ClassOf(err) != fault.Invalid {
		t.Errorf("%+v, %v", s, err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"upload", "forged", "--state-dir", state}, nil, &out, &errs); code != 3 || !strings.Contains(errs.String(), "belongs to another user") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if after, err := os.ReadDir(filepath.Dir(forged)); err != nil || len(after) != len(before) {
		t.Errorf("root wrote into the folder: %v, %v", after, err)
	}
}

// A file that has taken the place of a session's is not sent.
func TestUploadFollowsNoLink(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	_, file := endedSession(t, state, "one")
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, nil, 0o600))
	must(t, os.Remove(file))
	must(t, os.Symlink(secret, file))
	for _, what := range []string{"one", file} {
		var out, errs bytes.Buffer
		if code := run([]string{"upload", what, "--state-dir", state}, nil, &out, &errs); code != 3 || !strings.Contains(errs.String(), "a symbolic link has taken its place") {
			t.Errorf("%s: exit code %d: %s", what, code, errs.String())
		}
	}
}

// members calls do with the record without one of its members, for each member at
// any depth, and with null in its place.
func members(t *testing.T, text []byte, do func(what string, record []byte)) {
	t.Helper()
	var tree any
	must(t, json.Unmarshal(text, &tree))
	var walk func(path string, n any)
	walk = func(path string, n any) {
		switch n := n.(type) {
		case map[string]any:
			for name, v := range n {
				for _, with := range []func(){func() { delete(n, name) }, func() { n[name] = nil }} {
					with()
					changed, err := json.Marshal(tree)
					must(t, err)
					do(path+"."+name, changed)
					n[name] = v
				}
				walk(path+"."+name, v)
			}
		case []any:
			for _, v := range n {
				walk(path+"[]", v)
			}
		}
	}
	walk("", tree)
}

// A record without any one of its members, as another program may have written it,
// makes no verb panic.
func TestRecordsWithoutAMember(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	record, _ := endedSession(t, state, "one")
	text, err := os.ReadFile(record)
	must(t, err)
	reg, n, sendable := registry.New(state), 0, 0
	members(t, text, func(what string, changed []byte) {
		n++
		defer func() {
			if r := recover(); r != nil {
				t.Errorf("without %s: %v", what, r)
			}
		}()
		must(t, os.WriteFile(record, changed, 0o600))
		s, err := reg.Get("one")
		must(t, err)
		_, _, _ = sessionRow(s), narrowSession(s), s.Status()
		_, _ = describeEnd(s), sessionView{s.Resource(), s}
		_, _ = ordered(sessionView{s.Resource(), s})
		if s.Record != nil {
			_ = (&order{given: &request.Request{}}).same(s.Record)
			_, _ = explainNothing(&s.Record.Resource.Properties, s.Record.Source), describeLeft(s.Record.Resource.Properties.Statistics)
		}
		var j deliver.Job
		if err := sessionUpload(s, &j); err == nil && j.File != nil {
			sendable++
			must(t, j.File.Close())
		}
	})
	if n < 50 || sendable < n/3 {
		t.Errorf("%d records, %d could be sent", n, sendable)
	}
}

// A record that is odd in any way is one warning, or is shown written out; the others
// are listed all the same, in every output form.
func TestOneBadRecordHidesNoOther(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		spoil func(text []byte) []byte
		warns string
	}{
		"noncharacter and C1 in a path": {func(text []byte) []byte {
			return bytes.ReplaceAll(text, []byte("bad.cap"), []byte("bad\uffff\u009b2J\u202e.cap"))
		}, ""},
		"escapes in a status": {func(text []byte) []byte {
			return bytes.ReplaceAll(text, []byte(`"Stopped"`), []byte(`"\u001b[2J\u0000\ud800"`))
		}, ""},
		"not JSON":  {func([]byte) []byte { return []byte("\x1b[2J\x00") }, "the record is damaged"},
		"too large": {func(text []byte) []byte { return append(text, bytes.Repeat([]byte(" "), 42<<20)...) }, "pcapctl makes none of more than"},
		"a number that is none": {func(text []byte) []byte {
			return bytes.ReplaceAll(text, []byte(`"durationInSeconds": 0`), []byte(`"durationInSeconds": 1e999`))
		}, "the record is damaged"},
		"nested": {func([]byte) []byte { return bytes.Repeat([]byte(`[`), 1<<20) }, "the record is damaged"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			state := filepath.Join(t.TempDir(), "state")
			endedSession(t, state, "good1")
			bad, _ := endedSession(t, state, "bad")
			endedSession(t, state, "good2")
			text, err := os.ReadFile(bad)
			must(t, err)
			spoilt := test.spoil(text)
			if bytes.Equal(spoilt, text) {
				t.Fatal("the record is as it was")
			}
			must(t, os.WriteFile(bad, spoilt, 0o600))
			for _, format := range outputFormats[:6] {
				var out, errs bytes.Buffer
				code := run([]string{"list", "-o", format, "--state-dir", state}, nil, &out, &errs)
				if code != 0 || !strings.Contains(out.String(), "good1") || !strings.Contains(out.String(), "good2") || !strings.Contains(out.String(), "bad") {
					t.Errorf("%s: exit code %d: %.2000s%s", format, code, out.String(), errs.String())
				}
				if n := strings.Count(errs.String(), `session "bad": `); n > 1 || (n == 1) != (test.warns != "") || !strings.Contains(errs.String(), test.warns) {
					t.Errorf("%s: %s", format, errs.String())
				}
				shown := out.String() + errs.String()
				if format == "tsv" {
					shown = errs.String() // raw in a pipe, as with az
				}
				if strings.ContainsFunc(shown, hiddenButLF) {
					t.Errorf("%s: %q", format, shown)
				}
			}
		})
	}
}
