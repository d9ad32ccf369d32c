package main

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// When Windows waits for the end of the process no longer than some seconds, what the end waits for is broken off in time;
// nobody else hurries it.
func TestHasten(t *testing.T) {
	broken := make(chan struct{})
	cancel := context.CancelFunc(sync.OnceFunc(func() { close(broken) })) // it is called again and again
	a := &app{err: io.Discard}
	a.inspecting.Store(&cancel)
	done := make(chan struct{})
	for _, sig := range []os.Signal{os.Interrupt, stopAsked{}} {
		a.hasten(sig, done)
	}
	begun := time.Now()
	a.hasten(syscall.SIGTERM, done)
	<-broken
	if took := time.Since(begun); took < closePatience {
		t.Errorf("broken off after %v", took)
	}
	close(done)
}

// Of the events of a console only somebody's logoff is kept from those that end a capture.
func TestLogoffsAreTaken(t *testing.T) {
	for event := range uint32(7) {
		if got := takeLogoff(event); (got == 1) != (event == 5) { // CTRL_LOGOFF_EVENT of wincon.h
			t.Errorf("event %d: %d", event, got)
		}
	}
	if err := handleLogoffs(); err != nil {
		t.Error(err)
	}
}
