package registry

import (
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// takeName gives a session's folder, which is complete, its name. Windows does not rename a folder in which a file is open. So
// everything is closed and, under the new name, opened again; meanwhile the note in the lock file says that this
// process has the session. The error is errNameTaken when another session has the name.
func (c *Claim) takeName(temp, name string) error {
	if _, err := c.lock.WriteAt(c.note().encode(), 0); err != nil {
		return err
	}
	withLog := c.log != nil
	c.closeFiles()
	st, err := c.parent.Lstat(temp)
	if err == nil {
		err = renameFolder(c.parent, temp, name, st)
	}
	if err != nil {
		if _, serr := c.parent.Lstat(name); serr == nil {
			return errNameTaken
		}
		return err
	}
	if err := c.reopen(name, withLog); err != nil {
		c.closeFiles()
		_ = renameFolder(c.parent, name, temp, st) // by which it is removed
		return err
	}
	return nil
}

// note is who holds the session: this process.
func (c *Claim) note() *note {
	created, _ := createdAt(windows.CurrentProcess()) // asked of itself, it is always told
	return &note{uint32(os.Getpid()), created, c.asks.token}
}

// reopen opens the files of the session again.
func (c *Claim) reopen(name string, withLog bool) (err error) {
	if c.root, err = c.parent.OpenRoot(name); err != nil {
		return err
	}
	c.onClose(c.root.Close)
	again := func(name string, flag int) (*os.File, error) {
		f, err := c.root.OpenFile(name, flag, 0)
		if err == nil {
			c.onClose(f.Close)
		}
		return f, err
	}
	if c.lock, err = again(lockName, os.O_RDWR); err != nil {
		return err
	}
	for deadline := time.Now().Add(busyWait); ; time.Sleep(time.Millisecond) {
		err := c.hold()
		if err == nil {
			break
		}
		if time.Now().After(deadline) { // those who ask whether it is held do so by holding it, for a moment
			return err
		}
	}
	if withLog {
		if c.log, err = again(logName, os.O_WRONLY|os.O_APPEND); err != nil {
			return err
		}
	}
	live, err := c.root.OpenFile(liveName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = c.mapCounters(live)
	_ = live.Close()
	if err != nil {
		return err
	}
	if n := rotationCount(&c.rec); n > 0 {
		f, err := again(rotationName, os.O_RDWR)
		if err != nil {
			return err
		}
		c.files = rotationNotes{f, n}
	}
	c.spare, err = again(spareName, os.O_RDWR)
	return err
}

// loseName gives the folder of a session that never began another name. The note stays in it: nobody takes the session for lost.
func (c *Claim) loseName(name, gone string) error {
	st, err := c.root.Stat(".")
	c.closeFiles()
	if err != nil {
		return err
	}
	return renameFolder(c.parent, name, gone, st)
}

// letGo says that no process holds the session any more, and that at once: Windows may take its time to drop the lock of a file
// that was closed.
func (c *Claim) letGo() {
	_ = c.lock.Truncate(0)
	unlock(c.lock, sessionLock)
}
