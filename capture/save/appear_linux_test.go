package save

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"pcapctl/storage"
)

// killedEnv has this test binary make a file of a sink, and kill itself between that and the file's header.
const killedEnv = "PCAPCTL_TEST_KILLED_BEFORE_HEADER"

// A kill between the moment that a file is made and its header leaves nothing that has its name, in any sink: the name can
// be used again.
func TestKilledBeforeTheHeader(t *testing.T) {
	dir := os.Getenv(killedEnv)
	for _, v := range variants() {
		if dir != "" {
			if v.name == os.Getenv(killedEnv+"_SINK") {
				openWith(t, v, dir, func(*storage.File) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) })
			}
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestKilledBeforeTheHeader$")
			cmd.Env = append(os.Environ(), killedEnv+"="+dir, killedEnv+"_SINK="+v.name)
			err := cmd.Run()
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("it was not killed: %v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			f := openFixture(t, v, dir, 0)
			if err := f.Finish(); err != nil {
				t.Error(err)
			}
		})
	}
}
