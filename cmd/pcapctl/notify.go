package main

import (
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pcapctl/capture"
	"pcapctl/capture/fault"
)

// readiness tells the caller of the program when packets are being captured: a
// service manager by sd_notify(3), any other by a descriptor that it has opened.
type readiness struct{ file *os.File }

const noReadyFD = -1

// openReadiness takes over the descriptor of --ready-fd, noReadyFD for none.
func openReadiness(fd int) (*readiness, error) {
	if fd == noReadyFD {
		return &readiness{}, nil
	}
	bad := func(why string) error {
		return &fault.Error{Class: fault.Invalid, Target: "--ready-fd", Message: why + "; allowed: the number of a descriptor from 3 on that is open for writing, as in `pcapctl create --ready-fd 3 3>ready`"}
	}
	if err := canInherit(); err != nil {
		return nil, err
	}
	if fd < 3 {
		return nil, bad("0 to 2 are standard input, the result and the messages")
	}
	if !writable(fd) {
		return nil, bad("the descriptor is not open for writing")
	}
	return &readiness{os.NewFile(uintptr(fd), "--ready-fd")}, nil
}

// tell says that packets are being captured. The line feed is what s6 and others
// expect.
func (r *readiness) tell(status string) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+fault.VisibleLine(status))
	if r.file != nil {
		_, _ = r.file.WriteString("\n")
		r.close()
	}
}

func (r *readiness) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

const statusEvery = 10 * time.Second

// keepStatus keeps the service manager's status line up to date until stop is
// called.
func keepStatus(s *capture.Session) (stop func()) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return func() {}
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(statusEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_, _ = daemon.SdNotify(false, "STATUS="+fault.VisibleLine(strings.Join(describeProgress(s.Plan.Config, s.Progress()), ", ")))
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	}
}
