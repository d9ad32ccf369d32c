package main

import (
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"

	"pcapctl/capture/fault"
)

// runAsStarted runs the program, as a service where the service manager has started it: that ends a process which does not
// answer it after half a minute. What is said goes to the event log then, as a service has no console.
func (a *app) runAsStarted() int {
	if is, err := svc.IsWindowsService(); err != nil || !is {
		return a.run()
	}
	a.out, a.err, a.stops = io.Discard, io.Discard, make(chan os.Signal, 1)
	if log, err := eventlog.Open("pcapctl"); err == nil {
		defer func() { _ = log.Close() }()
		a.err = eventWriter{log}
	}
	s := &service{app: a, code: exitCode(fault.Errorf(fault.Internal, ""))}
	if err := svc.Run("", s); err != nil {
		a.printError(fault.Errorf(fault.Internal, "run as a service: %w", err))
	}
	return s.code
}

// eventWriter writes each message as an event.
type eventWriter struct{ log *eventlog.Log }

// Write implements io.Writer.
func (w eventWriter) Write(p []byte) (int, error) {
	const id = 1
	return len(p), w.log.Info(id, strings.TrimSpace(string(p)))
}

// service answers the service manager while the program runs.
type service struct {
	app  *app
	code int // what the program ended with
}

// stopHint is how long the service manager is asked to wait for the next word, before it takes the service for stuck.
const stopHint = 20 * time.Second

// Execute implements svc.Handler. The exit code of the program is that of the service.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (ofService bool, code uint32) {
	ended := make(chan int, 1)
	go func() { ended <- s.app.run() }()
	now := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	status <- now
	tick := time.NewTicker(stopHint / 4)
	defer tick.Stop()
	for {
		select {
		case s.code = <-ended:
			return true, uint32(s.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- now
			case svc.Stop, svc.Shutdown:
				s.app.stopCapture()
				now = svc.Status{State: svc.StopPending, WaitHint: uint32(stopHint.Milliseconds())}
				status <- now
			}
		case <-tick.C:
			if now.State == svc.StopPending { // an upload may take longer
				now.CheckPoint++
				status <- now
			}
		}
	}
}
