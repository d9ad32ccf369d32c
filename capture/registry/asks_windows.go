package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"

	"pcapctl/storage/private"
)

// A process is told by an event to end its session. Its name is random, and it is made anew: nobody can have made it before
// to keep the process from being stopped, or to have it stop. It is Global, so that who stops a session may have logged in
// elsewhere. Only its owner and administrators may set it.

// eventName is the name of the event with a token.
func eventName(token string) (*uint16, error) {
	return windows.UTF16PtrFromString(`Global\pcapctl-stop-` + token)
}

// asks is the event of a claim.
type asks struct {
	token  string
	event  windows.Handle // set by stop
	closed windows.Handle // set when the claim is closed
	told   chan struct{}
	done   chan struct{}
}

func (a *asks) open() error { return a.make(rand.Text()) }

func (a *asks) make(token string) error {
	sa, err := private.Attributes()
	if err != nil {
		return err
	}
	a.token = token
	name, err := eventName(token)
	if err != nil {
		return err
	}
	const manual = 1
	if a.event, err = windows.CreateEvent(sa, manual, 0, name); err == nil {
		a.closed, err = windows.CreateEvent(nil, manual, 0, nil)
	}
	if err != nil {
		if a.event != 0 { // of somebody else: ERROR_ALREADY_EXISTS
			_ = windows.CloseHandle(a.event)
			a.event = 0
		}
		return fmt.Errorf("make the event by which it is stopped: %w", os.NewSyscallError("CreateEvent", err))
	}
	a.told, a.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(a.done)
		first, err := windows.WaitForMultipleObjects([]windows.Handle{a.event, a.closed}, false, windows.INFINITE)
		if err == nil && first == windows.WAIT_OBJECT_0 {
			close(a.told)
		}
	}()
	return nil
}

// asked is closed when the event has been set.
func (a *asks) asked() <-chan struct{} { return a.told }

func (a *asks) close() {
	if a.event == 0 {
		return
	}
	_ = windows.SetEvent(a.closed)
	<-a.done
	_, _ = windows.CloseHandle(a.event), windows.CloseHandle(a.closed)
	a.event = 0
}

// errForged is why an event is not set: the lock file names one of somebody else.
var errForged = errors.New("the event by which it would be stopped belongs to another user")

// ask sets the event of a token, which must belong to the owner of the process that is stopped: for an administrator, who may set
// all events there are. That there is no such event is not an error: the session has just ended.
func ask(token string, owner account) error {
	name, err := eventName(token)
	if err != nil {
		return err
	}
	event, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE|windows.READ_CONTROL, false, name)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("OpenEvent", err)
	}
	defer func() { _ = windows.CloseHandle(event) }()
	sd, err := windows.GetSecurityInfo(event, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return os.NewSyscallError("GetSecurityInfo", err)
	}
	if sid, _, err := sd.Owner(); err != nil || account(sid.String()) != owner {
		return errForged
	}
	return os.NewSyscallError("SetEvent", windows.SetEvent(event))
}
