//go:build !linux

package registry

import (
	"io/fs"
	"os"
	"time"
)

// supported is asked first, so that nothing of what follows is reached.
func supported() error { return ErrUnsupported }

const (
	openSafely  = 0
	sessionLock = 0
	changeLock  = 1
)

type inode struct {
	owner int
	links uint64
}

type process struct{ pid int }

type facts struct {
	command string
	owners  []int
	inner   int
	state   string
}

func tryLock(*os.File, int64) (bool, error)                { return false, ErrUnsupported }
func unlock(*os.File, int64)                               {}
func holder(*os.File) (pid int, alive bool, err error)     { return 0, false, ErrUnsupported }
func lockFile(*os.File) (bool, error)                      { return false, ErrUnsupported }
func holdingProcess(*os.File) (_ process, _ bool, _ error) { return process{}, false, ErrUnsupported }
func changer(*os.File) int                                 { return 0 }
func holdsSomeSession(int) bool                            { return false }
func (process) facts() (facts, error)                      { return facts{}, ErrUnsupported }
func (process) terminate() error                           { return ErrUnsupported }
func (process) pollable() bool                             { return false }
func (process) waitExit(time.Duration)                     {}
func (process) close()                                     {}
func allocate(*os.File, int64) error                       { return ErrUnsupported }
func mapShared(*os.File, int) ([]byte, error)              { return nil, ErrUnsupported }
func unmap([]byte)                                         {}
func monotonic() time.Duration                             { return 0 }
func bootID() string                                       { return "" }
func inodeOf(fs.FileInfo) inode                            { return inode{} }
func userName(int) string                                  { return "another user" }
func isInvalid(error) bool                                 { return false }
