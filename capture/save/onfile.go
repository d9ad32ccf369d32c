package save

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcapctl/capture/request"
)

// OnFile is a command that is run for every capture file that is finished.
type OnFile struct {
	Command string // of sh; "" for none
	// Timeout is how long it may take; 0 is DefaultOnFileTimeout. After that it
	// is killed, with all that it has started.
	Timeout time.Duration
}

// DefaultOnFileTimeout is how long a command for a file may take.
const DefaultOnFileTimeout = time.Minute

// Finished is what a command is told of its file.
type Finished struct {
	File   File
	Config *request.Config
	Reason string // why the session ended, "" when it goes on
}

const (
	shell = "/bin/sh"
	// outputLen is how much of what a command says is kept, for the case that
	// it fails. The end of it tells why.
	outputLen = 512
	// outputDelay is how long somebody that a command has left behind may still
	// hold its output.
	outputDelay = time.Second
)

// Limit is how long the command may take.
func (o OnFile) Limit() time.Duration {
	if o.Timeout == 0 {
		return DefaultOnFileTimeout
	}
	return o.Timeout
}

// Run runs the command and gives a sentence about what went wrong, or "". It
// never fails the capture. parent breaks the command off; it is not the session's
// context: that the session is stopped is no reason to break off what a user
// wanted done with the file.
func (o OnFile) Run(parent context.Context, f *Finished) string {
	if o.Command == "" {
		return ""
	}
	timeout := o.Limit()
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	var said tail
	// Not by PATH, which under sudo may be that of the user who called it.
	cmd := exec.CommandContext(ctx, shell, "-c", o.Command)
	cmd.Dir = filepath.Dir(f.File.Path)
	cmd.Env = f.environ()
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = outputDelay
	asGroup(cmd)
	err := cmd.Run()
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return ""
	case parent.Err() != nil:
		err = errors.New("broken off, as it was asked for")
	case ctx.Err() != nil:
		err = fmt.Errorf("not done after %v and killed", timeout)
	}
	text := fmt.Sprintf("--on-file for %s: %v", f.File.Path, err)
	if out := strings.TrimSpace(strings.ToValidUTF8(string(said), "?")); out != "" {
		text += ": " + out
	}
	return text
}

// passedOn are the variables of our own environment that a command gets. There
// may be secrets in others.
var passedOn = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"}

func (f *Finished) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return !slices.Contains(passedOn, name) && !strings.HasPrefix(name, "LC_")
	})
	return append(env,
		"PCAPCTL_FILE="+f.File.Path,
		"PCAPCTL_SIZE="+strconv.FormatInt(f.File.Size, 10),
		"PCAPCTL_PACKETS="+strconv.FormatUint(f.File.Packets, 10),
		"PCAPCTL_SEQUENCE="+strconv.Itoa(max(f.File.Sequence, 1)),
		"PCAPCTL_START_TIME="+f.File.Started.UTC().Format(request.TimeLayout),
		"PCAPCTL_FORMAT="+f.Config.FormatName(),
		"PCAPCTL_COMPRESSION="+f.Config.Compress,
		"PCAPCTL_SESSION="+f.Config.Name,
		"PCAPCTL_TARGET="+f.Config.Target.String(),
		"PCAPCTL_STOP_REASON="+f.Reason,
	)
}

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-outputLen):]...)
	if extra := len(*t) - outputLen; extra > 0 {
		*t = slices.Delete(*t, 0, extra)
	}
	return len(p), nil
}
