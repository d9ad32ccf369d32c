//go:build !linux && !windows

package registry

import (
	"io/fs"
	"os"
	"time"
)

// supported is asked first, so that nothing of what follows is reached.
func supported() error { return ErrUnsupported }

const (
	openSafely       = 0
	withinSafely     = 0
	sessionLock      = 0
	changeLock       = 1
	maxLock          = 0
	tellsOfProcesses = "nothing"
	killCommand      = "kill"
	superUser        = "root"
)

type account = int

type inode struct {
	owner account
	links uint64
	open  bool
}

type process struct{ pid int }

type facts struct {
	command string
	owners  []account
	inner   int
	state   string
}

type asks struct{}

func (asks) open() error                                   { return ErrUnsupported }
func (asks) asked() <-chan struct{}                        { return nil }
func (asks) close()                                        {}
func tryLock(*os.File, int64) (bool, error)                { return false, ErrUnsupported }
func unlock(*os.File, int64)                               {}
func holder(*os.File) (pid int, alive bool, err error)     { return 0, false, ErrUnsupported }
func holdingProcess(*os.File) (_ process, _ bool, _ error) { return process{}, false, ErrUnsupported }
func changer(*os.File) string                              { return "" }
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
func isOwn(account) bool                                   { return false }
func isTrusted(account) bool                               { return false }
func isSuper() bool                                        { return false }
func inodeIn(*os.Root, string, fs.FileInfo) inode          { return inode{} }
func inodeOf(*os.File, fs.FileInfo) inode                  { return inode{} }
func userName(account) string                              { return "another user" }
func closing(string) string                                { return "" }
func sharing(string) string                                { return "" }
func syncFolder(*os.Root) error                            { return ErrUnsupported }
func makeStateDir(string) error                            { return ErrUnsupported }
func renameIn(*os.Root, string, string) error              { return ErrUnsupported }
func (*folder) rename(*os.Root, string) error              { return ErrUnsupported }
func (*Claim) takeName(string, string) error               { return ErrUnsupported }
func (*Claim) loseName(string, string) error               { return ErrUnsupported }
func (*Claim) letGo()                                      {}
