package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"pcapctl/capture/fault"
)

// sameInterrupt is the time within which several SIGINT are one: timeout(1) sends
// the signal to its child, and at once to the whole process group as well.
const sameInterrupt = 200 * time.Millisecond

// endSignals receives from now on the signals that ask for the end.
func endSignals() chan os.Signal {
	signals := make(chan os.Signal, 2)
	// SIGQUIT (Ctrl-\) would have the Go runtime print its goroutines and end with
	// 2, the code of an invalid request.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) asks that it stays so
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A reader who has left, as in `2>&1 | head`, must not end what is under way:
	// writing to him fails instead. os/signal, on SIGPIPE.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return signals
}

// untilSignal gives a context that the first signal ends. A second Ctrl-C, or
// SIGQUIT, ends the process at once; the file stays readable: its guard cuts it behind the
// last packet that was written whole. A second SIGTERM does nothing: two who
// stop a session at the same time must not break it.
func (a *app) untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	ignoreLogoffs()
	signals := endSignals()
	done := make(chan struct{})
	go func() {
		var last time.Time // SIGINT
		for first := true; ; first = false {
			var sig os.Signal
			select {
			case <-done:
				return
			case sig = <-signals:
			case sig = <-a.stops:
			}
			atOnce := sig == syscall.SIGQUIT
			a.hasten(sig, done)
			if sig == os.Interrupt {
				again := time.Since(last) < sameInterrupt
				if last = time.Now(); again {
					continue
				}
				atOnce = !first
			}
			if !atOnce {
				patiently(func() { a.sayStopping(sig, first) })
			} else if !a.abandon() {
				if file := a.unwritten.Load(); file != nil {
					file.discard()
				}
				patiently(func() {
					a.printError(fault.Errorf(fault.Failed, "%s", a.leftBefore()))
					a.aside() // what was drawn in between
				})
				a.exit(exitCode(&fault.Error{Class: fault.Failed}))
			}
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// stopAsked is the signal of stop, and of a service manager, where there is none that the system sends.
type stopAsked struct{}

// Signal implements os.Signal.
func (stopAsked) Signal() {}

// String implements os.Signal.
func (stopAsked) String() string { return "stop" }

// stopCapture ends the capture as a signal does. Several calls are one.
func (a *app) stopCapture() {
	select {
	case a.stops <- stopAsked{}:
	default:
	}
}

// obey ends the capture when asked is closed, as a signal does. The function that it gives ends that.
func (a *app) obey(asked <-chan struct{}) (done func()) {
	if asked == nil {
		return func() {}
	}
	left := make(chan struct{})
	go func() {
		select {
		case <-asked:
			a.stopCapture()
		case <-left:
		}
	}()
	return sync.OnceFunc(func() { close(left) })
}

// sayStopping says what a signal does that does not end the process at once.
func (a *app) sayStopping(sig os.Signal, first bool) {
	switch {
	case sig == os.Interrupt && a.hasEnded():
		a.say("the capture has ended already; once more ends what it waits for")
	case sig == os.Interrupt:
		a.say("stopping; once more to leave at once")
	case first:
		a.say("stopping")
	}
}

// leftBefore says what was not done when the process is left at once.
func (a *app) leftBefore() string {
	if a.printing.Load() {
		return "left before the result was printed; the capture is complete"
	}
	return "left before the capture file was complete; what had been written is readable"
}

// abandon breaks off what the end of a capture waits for. It is false when there is
// nothing that could be.
func (a *app) abandon() bool {
	var text string
	switch {
	case a.abandonUpload():
		text = "leaving the upload as it is"
	case a.abandonInspect():
		text = "ending --inspect; the capture is complete"
	case a.abandonCommand():
		text = "ending the command of --on-file; the capture is complete"
	default:
		return false
	}
	patiently(func() { a.say("%s", text) })
	return true
}

// untilAnySignal gives a context that a signal ends; what follows is short. Where it is not, as nobody takes what is
// written, a second Ctrl-C, or SIGQUIT, ends the process at once. discard takes away what was begun and is not
// complete.
func (a *app) untilAnySignal(parent context.Context, discard func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := endSignals()
	done := make(chan struct{})
	go func() {
		var last time.Time // SIGINT
		for {
			var sig os.Signal
			select {
			case <-done:
				return
			case sig = <-signals:
			}
			atOnce := sig == syscall.SIGQUIT
			if sig == os.Interrupt {
				atOnce = !last.IsZero() && time.Since(last) >= sameInterrupt
				last = time.Now()
			}
			if atOnce {
				discard()
				patiently(func() {
					a.printError(fault.Errorf(fault.Failed, "left before the report was printed"))
					a.aside() // what was drawn in between
				})
				a.exit(exitCode(&fault.Error{Class: fault.Failed}))
			}
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// sayPatience is how long words may hold up what they are about.
const sayPatience = time.Second

// patiently calls do, which writes to stderr, and goes on without it where nobody takes that: a terminal may be stopped
// (Ctrl-S) or its connection hang, and a pipe be full.
func patiently(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	late := time.NewTimer(sayPatience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}
