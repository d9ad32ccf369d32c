package main

import (
	"time"

	"pcapctl/capture"
)

// commandPatience is how long a command for a file may take without a word about it.
const commandPatience = 500 * time.Millisecond

// watchEnd says what a capture that has ended waits for when a command for its file
// takes a while, and lets Ctrl-C break that off. The function it returns ends
// watching.
func (a *app) watchEnd(s *capture.Session) (end func()) {
	a.capturing.Store(s)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-s.Ended():
		}
		tick := time.NewTicker(commandPatience / 5)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if c := s.Command(); c != nil && time.Since(c.Since) > commandPatience {
				a.say("the capture has ended and is complete; waiting for --on-file for %s, at most %s; a second Ctrl-C ends the command", c.File, c.Limit)
				return
			}
		}
	}()
	return func() {
		close(done)
		a.capturing.Store(nil)
	}
}

// hasEnded tells whether the capture has ended and something else goes on.
func (a *app) hasEnded() bool {
	s := a.capturing.Load()
	if s == nil {
		return false
	}
	select {
	case <-s.Ended():
		return true
	default:
		return false
	}
}

// abandonCommand breaks off the command for a file of a capture that has ended, if
// one runs.
func (a *app) abandonCommand() bool {
	s := a.capturing.Load()
	return s != nil && s.AbandonCommand()
}
