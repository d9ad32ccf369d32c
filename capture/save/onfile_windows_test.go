package save

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/request"
)

func config(t *testing.T, session string) *request.Config {
	t.Helper()
	c, err := request.NewConfig(&request.Request{Name: &session, Properties: &request.Properties{
		Target:          new("/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation: &request.StorageLocation{FilePath: new(`C:\Captures\x.cap`)}, TimeLimitInSeconds: new(int64(60)),
	}}, request.Host{GOOS: "windows", Name: "h"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A command is told of its file, runs in its folder, and says what went wrong.
func TestOnFileByCmd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b.cap")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PCAPCTL_SECRET", "hidden")
	f := &Finished{File: File{Path: path, Size: 1, Packets: 7}, Config: config(t, "one"), Reason: "Manual"}
	for command, says := range map[string]string{
		`echo %PCAPCTL_PACKETS% %PCAPCTL_SESSION% [%PCAPCTL_STOP_REASON%] %PCAPCTL_SECRET%>said.txt&& copy "%PCAPCTL_FILE%" copied.cap >NUL`: "",
		`echo went wrong& exit 7`:                   "exit status 7: went wrong",
		`no-such-program-at-all`:                    "no-such-program",
		`if exist "a b.cap" (exit 0) else (exit 3)`: "",
	} {
		got := OnFile{Command: command}.Run(t.Context(), f)
		if says == "" && got != "" || !strings.Contains(got, says) {
			t.Errorf("%s: %q, want %q", command, got, says)
		}
	}
	said, err := os.ReadFile(filepath.Join(dir, "said.txt"))
	if err != nil || strings.TrimSpace(string(said)) != "7 one [Manual] %PCAPCTL_SECRET%" {
		t.Errorf("%q, %v", said, err)
	}
	if copied, err := os.ReadFile(filepath.Join(dir, "copied.cap")); err != nil || string(copied) != "x" {
		t.Errorf("%q, %v", copied, err)
	}
}

// What a command has started ends with it, when it takes too long or is broken off.
func TestOnFileEnds(t *testing.T) {
	dir := t.TempDir()
	const forever = `for /L %i in (1,0,2) do @rem`
	f := &Finished{File: File{Path: filepath.Join(dir, "x.cap")}, Config: config(t, "one")}
	got := OnFile{Command: `cmd /c "` + forever + `"`, Timeout: time.Second}.Run(t.Context(), f)
	if !strings.Contains(got, "not done after 1s and killed") {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	got = OnFile{Command: forever}.Run(ctx, f)
	if !strings.Contains(got, "broken off") {
		t.Errorf("%q", got)
	}
}

// No name becomes a part of a command.
func TestOnFileCheck(t *testing.T) {
	good := OnFile{Command: `copy "%PCAPCTL_FILE%" D:\`}
	for _, path := range []string{`C:\Captures\x.cap`, `D:\Jörg\a b_1-2.cap`} {
		if err := good.Check(config(t, "one"), path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, r := range "&|<>^%!()\"'`$;{}@*?[]\n\u200b" {
		if err := good.Check(config(t, "one"), `C:\Captures\x`+string(r)+`y.cap`); err == nil {
			t.Errorf("%q in the name of a file", r)
		}
		if err := (OnFile{}).Check(config(t, "one"), `C:\Captures\x`+string(r)+`y.cap`); err != nil {
			t.Errorf("%q without a command: %v", r, err)
		}
	}
	for _, command := range []string{"a\nb", "a\rb", "a\x00b", strings.Repeat("x", 9000)} {
		if err := (OnFile{Command: command}).Check(config(t, "one"), `C:\x.cap`); err == nil {
			t.Errorf("%.10q...", command)
		}
	}
}
