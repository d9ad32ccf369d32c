package main

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// ignoreLogoffs keeps a capture of the session of services from ending whenever somebody logs off: Windows tells those processes of
// everybody's logoff and ends none of them, and the Go runtime makes SIGTERM of it. Handlers that were set later are asked first.
var ignoreLogoffs = sync.OnceFunc(func() {
	const ofServices = 0
	var session uint32
	if err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &session); err == nil && session == ofServices {
		_ = handleLogoffs()
	}
})

// handleLogoffs has Windows call takeLogoff.
func handleLogoffs() error {
	const add = 1
	if ok, _, err := windows.NewLazySystemDLL("kernel32.dll").NewProc("SetConsoleCtrlHandler").Call(windows.NewCallback(takeLogoff), add); ok == 0 {
		return os.NewSyscallError("SetConsoleCtrlHandler", err)
	}
	return nil
}

// takeLogoff is a HandlerRoutine. 1 says that nobody else is to be asked.
func takeLogoff(event uint32) uintptr {
	if event == windows.CTRL_LOGOFF_EVENT {
		return 1
	}
	return 0
}

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
