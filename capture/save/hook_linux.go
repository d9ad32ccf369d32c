package save

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/request"
)

// A capture gives up its rights before it reads a packet, and a command for its
// files must have those of whoever called the program. So a second process, which
// is started before, starts the commands. What it runs, and in which folder, it is
// told once, at its start: a capture that has fallen to somebody's packets can have
// that command run once more, and no other.

// hookName is the process' name in a list of processes.
const hookName = "pcap-hook"

// hookOrders is the descriptor of its socket.
const hookOrders = 0

// hookPatience is how long an answer may take beyond the time of the command.
const hookPatience = 3 * time.Second

// hookJob is the first message to the process.
type hookJob struct {
	OnFile  OnFile
	Setting setting
}

// hookOrder is each other message: a file to run the command for, or that the command
// which runs is to be broken off.
type hookOrder struct {
	File  *fact `json:",omitempty"`
	Abort bool  `json:",omitempty"`
}

// Hook is the Runner that has another process run the command.
type Hook struct {
	job     hookJob
	cmd     *exec.Cmd
	conn    *os.File
	out     *json.Encoder
	answers chan string // closed when the process has ended
	failed  error       // there will be no more answers
}

var errHookEnded = errors.New("the process that runs such commands has ended")

// StartHook starts the process. program is the path of the program to run, which
// must call HookMain first of all in its main.
func StartHook(program string, o OnFile, c *request.Config, path string) (*Hook, error) {
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	// Not blocking, so that Close ends a read.
	if err := unix.SetNonblock(socks[0], true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(socks[0]), unix.Close(socks[1]))
	}
	theirs := os.NewFile(uintptr(socks[1]), hookName)
	defer func() { _ = theirs.Close() }()
	h := &Hook{
		job:     hookJob{o, settingOf(c, filepath.Dir(path))},
		conn:    os.NewFile(uintptr(socks[0]), hookName),
		answers: make(chan string, 1),
	}
	h.cmd = &exec.Cmd{
		Path:  program,
		Args:  []string{hookName},
		Dir:   "/",
		Env:   append(inherited(), "GOMAXPROCS=1", "GOTRACEBACK=none"),
		Stdin: theirs,
		// As the guard: Ctrl-C and the end of the terminal are not its business.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := h.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that runs --on-file: %w", err), h.conn.Close())
	}
	h.out = json.NewEncoder(h.conn)
	if err := h.out.Encode(h.job); err != nil {
		h.Close()
		return nil, fmt.Errorf("start the process that runs --on-file: %w", err)
	}
	go func() {
		defer close(h.answers)
		in := json.NewDecoder(h.conn)
		for {
			var text string
			if in.Decode(&text) != nil {
				return
			}
			h.answers <- text
		}
	}()
	return h, nil
}

// Run implements Runner. One goroutine at a time calls it.
func (h *Hook) Run(parent context.Context, f *Finished) string {
	fact := f.fact()
	if h.failed == nil {
		h.failed = h.out.Encode(hookOrder{File: &fact})
	}
	if h.failed != nil {
		return troubleWith(h.job.Setting, fact, errHookEnded)
	}
	patience := time.NewTimer(h.job.OnFile.Limit() + hookPatience)
	defer patience.Stop()
	abort := parent.Done()
	for {
		select {
		case text, ok := <-h.answers:
			if !ok {
				h.failed = errHookEnded
				return troubleWith(h.job.Setting, fact, h.failed)
			}
			return text
		case <-abort:
			abort = nil
			h.failed = h.out.Encode(hookOrder{Abort: true})
			patience.Reset(hookPatience)
		case <-patience.C: // it was stopped, say
			h.failed = errors.New("the process that runs such commands does not answer")
			return troubleWith(h.job.Setting, fact, h.failed)
		}
	}
}

// Close ends the process. A command that was not waited for goes on.
func (h *Hook) Close() {
	_ = h.conn.Close()
	ended := make(chan struct{})
	go func() {
		_ = h.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(hookPatience):
	}
}

// IsHook tells whether this process was started by StartHook.
func IsHook() bool { return len(os.Args) == 1 && os.Args[0] == hookName }

// HookMain is the process that StartHook starts: it runs commands until the other
// side is closed.
func HookMain() {
	// A service manager signals every process of a unit, and this one is needed to
	// the end. The signals are caught and not ignored: the commands would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	if err := unix.SetNonblock(hookOrders, true); err != nil { // so that reading does not take a thread
		return
	}
	unix.CloseOnExec(hookOrders)
	conn := os.NewFile(hookOrders, hookName)
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var j hookJob
	if in.Decode(&j) != nil {
		return
	}
	files, aborts := make(chan fact), make(chan struct{}, 1)
	go func() {
		defer close(files)
		for {
			var o hookOrder
			switch err := in.Decode(&o); {
			case err != nil:
				return
			case o.Abort:
				select {
				case aborts <- struct{}{}:
				default: // it has been told already
				}
			case o.File != nil && filepath.Base(o.File.Name) == o.File.Name:
				files <- *o.File
			}
		}
	}()
	for f := range files {
		if out.Encode(j.run(f, aborts)) != nil {
			return
		}
	}
}

// run runs the command for a file, unless that is broken off.
func (j *hookJob) run(f fact, aborts <-chan struct{}) string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-aborts:
			cancel()
		case <-ctx.Done():
		}
	}()
	return j.OnFile.run(ctx, j.Setting, f)
}
