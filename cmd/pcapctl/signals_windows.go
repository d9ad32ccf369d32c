package main

import (
	"os"
	"syscall"
	"time"
)

// closePatience is how long the end of a capture may take when the console was closed, the user logs off or Windows is shut down:
// Windows ends the process after 5 seconds, or sooner. [HandlerRoutine]
//
// [HandlerRoutine]: https://learn.microsoft.com/windows/console/handlerroutine
const closePatience = 2500 * time.Millisecond

// hasten breaks off what the end of a capture waits for when Windows waits no longer. The Go runtime makes SIGTERM of these three
// events, and nothing else, and holds them up until the process ends. An upload that is broken off is told in the record.
func (a *app) hasten(sig os.Signal, done <-chan struct{}) {
	if sig != syscall.SIGTERM {
		return
	}
	go func() {
		wait := time.NewTimer(closePatience)
		defer wait.Stop()
		for {
			select {
			case <-done:
				return
			case <-wait.C:
				a.abandon()
				wait.Reset(closePatience / 25) // more may come to be waited for
			}
		}
	}()
}
