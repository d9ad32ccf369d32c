package capture

import (
	"context"
	"sync/atomic"
	"time"

	"pcapctl/capture/save"
)

// Command is a command for a finished file that runs now.
type Command struct {
	File  string // that it runs for
	Since time.Time
	Limit time.Duration // after which it is killed
}

// commands are the commands that a session runs for its files, one at a time.
type commands struct {
	now    *atomic.Pointer[Command] // nil in it when none runs
	ctx    context.Context          //nolint:containedctx // it is the switch that breaks commands off, and belongs to no call
	cancel context.CancelFunc
	runner save.Runner
}

func newCommands(r save.Runner) commands {
	ctx, cancel := context.WithCancel(context.Background())
	return commands{now: new(atomic.Pointer[Command]), ctx: ctx, cancel: cancel, runner: r}
}

func (c *commands) run(o save.OnFile, f *save.Finished) string {
	if o.Command == "" {
		return ""
	}
	c.now.Store(&Command{File: f.File.Path, Since: time.Now(), Limit: o.Limit()})
	defer c.now.Store(nil)
	return c.runner.Run(c.ctx, f)
}

// Ended is closed when the capture has ended. Its files may still be on their way
// to the disk or to a blob, and commands for them may run.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Command is the command for a finished file that runs now, nil for none.
func (s *Session) Command() *Command { return s.commands.now.Load() }

// AbandonCommand breaks off the command that runs for a finished file, and those
// that would follow. It is false when the capture has not ended or none runs.
func (s *Session) AbandonCommand() bool {
	select {
	case <-s.ended:
	default:
		return false
	}
	if s.Command() == nil {
		return false
	}
	s.commands.cancel()
	return true
}
