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
	Command string // of sh, with Windows of cmd.exe; "" for none
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

// Runner runs a command for finished files: OnFile in this process, Hook in another.
type Runner interface {
	// Run runs the command and gives a sentence about what went wrong, or "". It
	// never fails the capture. parent breaks the command off; it is not the session's
	// context: that the session is stopped is no reason to break off what a user
	// wanted done with the file.
	Run(parent context.Context, f *Finished) string
	// Close gives up what the Runner has open.
	Close()
}

// setting is what a command is told that is the same for all files of a session.
type setting struct {
	Folder, Session, Target, Format, Compression string
}

// fact is what it is told of one of them.
type fact struct {
	Name     string // in the folder
	Size     int64
	Packets  uint64
	Sequence int
	Started  time.Time
	Reason   string
}

func settingOf(c *request.Config, folder string) setting {
	return setting{Folder: folder, Session: c.Name, Target: c.Target.String(), Format: c.FormatName(), Compression: c.Compress}
}

func (f *Finished) fact() fact {
	return fact{
		Name: filepath.Base(f.File.Path), Size: f.File.Size, Packets: f.File.Packets, Sequence: max(f.File.Sequence, 1),
		Started: f.File.Started, Reason: f.Reason,
	}
}

const (
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

// Run implements Runner.
func (o OnFile) Run(parent context.Context, f *Finished) string {
	return o.run(parent, settingOf(f.Config, filepath.Dir(f.File.Path)), f.fact())
}

// Close implements Runner.
func (OnFile) Close() {}

func (o OnFile) run(parent context.Context, s setting, f fact) string {
	if o.Command == "" {
		return ""
	}
	timeout := o.Limit()
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	var said tail
	cmd := shellCommand(ctx, s.Folder, o.Command)
	cmd.Env = environ(s, f)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = outputDelay
	err := runAsGroup(cmd)
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return ""
	case parent.Err() != nil:
		err = errors.New("broken off, as it was asked for")
	case ctx.Err() != nil:
		err = fmt.Errorf("not done after %v and killed", timeout)
	}
	text := troubleWith(s, f, err)
	if out := strings.TrimSpace(strings.ToValidUTF8(string(said), "?")); out != "" {
		text += ": " + out
	}
	return text
}

// troubleWith says what went wrong with the command for a file.
func troubleWith(s setting, f fact, err error) string {
	return fmt.Sprintf("--on-file for %s: %v", filepath.Join(s.Folder, f.Name), err)
}

func environ(s setting, f fact) []string { return append(inherited(), told(s, f)...) }

// told are the variables by which a command is told of its file.
func told(s setting, f fact) []string {
	return []string{
		"PCAPCTL_FILE=" + filepath.Join(s.Folder, f.Name),
		"PCAPCTL_SIZE=" + strconv.FormatInt(f.Size, 10),
		"PCAPCTL_PACKETS=" + strconv.FormatUint(f.Packets, 10),
		"PCAPCTL_SEQUENCE=" + strconv.Itoa(f.Sequence),
		"PCAPCTL_START_TIME=" + f.Started.UTC().Format(request.TimeLayout),
		"PCAPCTL_FORMAT=" + s.Format,
		"PCAPCTL_COMPRESSION=" + s.Compression,
		"PCAPCTL_SESSION=" + s.Session,
		"PCAPCTL_TARGET=" + s.Target,
		"PCAPCTL_STOP_REASON=" + f.Reason,
	}
}

// inherited is what of our own environment is passed on.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return !passesOn(name)
	})
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
