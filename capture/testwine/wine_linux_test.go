package testwine_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/testnet"
	"pcapctl/capture/testwine"
)

// Arguments, environment, folder, input and exit code reach a program in a namespace, and nothing of the prefix is left.
func TestCommand(t *testing.T) {
	ns := testnet.New(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	t.Run("run", func(t *testing.T) {
		p := testwine.New(t, ns.Command)
		inside = p.C("")
		cmd := p.Command("cmd", "/c", `echo %FOO% %CD% a^&b& exit 7`)
		cmd.Dir, cmd.Env = dir, append(cmd.Env, "FOO=bar")
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("ended with %v instead of exit code 7", err)
		}
		if got, want := strings.TrimSpace(string(out)), "bar "+testwine.Z(dir)+" a&b"; got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
		cmd = p.Command("cmd", "/q")
		cmd.Stdin = strings.NewReader(`echo read>C:\said.txt` + "\r\n")
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		if said, err := os.ReadFile(p.C("said.txt")); err != nil || strings.TrimSpace(string(said)) != "read" {
			t.Errorf("wrote %q, %v", said, err)
		}
	})
	if _, err := os.Stat(inside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the prefix is left: %v", err)
	}
}

// What `go test -exec` runs ends with its own exit code, and when it hangs, by itself.
func TestMainEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Wine three times")
	}
	testwine.New(t, exec.Command) // skips without Wine
	cmd := `C:\windows\system32\cmd.exe`
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if code, err := testwine.Main(t.Context(), time.Minute, []string{cmd, "/c", "exit 7"}, null, null, null); code != 7 || err != nil {
		t.Errorf("exit code %d, %v, want 7", code, err)
	}
	hanging, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = hanging.Close(), keep.Close() }()
	if code, err := testwine.Main(t.Context(), time.Second, []string{cmd, "/c", "set /p X="}, hanging, null, null); code != 124 || err == nil {
		t.Errorf("a program that hangs ended with %d, %v, want 124", code, err)
	}
}
