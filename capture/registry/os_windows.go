package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"pcapctl/storage/private"
)

func supported() error { return nil }

// openSafely opens a link in the last place itself. What is opened in a folder follows none that leaves it.
const (
	openSafely   = windows.FILE_FLAG_OPEN_REPARSE_POINT
	withinSafely = 0
)

// The words of messages.
const (
	tellsOfProcesses = "Windows"
	killCommand      = "taskkill /F /PID"
	superUser        = "an administrator"
)

// closing is the command that keeps others from changing a folder.
func closing(path string) string { return private.ClosingCommand(path, true) }

// sharing is empty: a folder that users share would have to hand rights down that each of them must not have.
func sharing(string) string { return "" }

// allocate gives a new file its length in bytes, and the space on the disk. It writes: a length alone takes no space of a
// file that is compressed or sparse.
func allocate(f *os.File, size int64) error {
	_, err := f.WriteAt(make([]byte, size), 0)
	return err
}

func mapShared(f *os.File, size int) ([]byte, error) {
	section, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READWRITE, 0, uint32(size), nil)
	if err != nil {
		return nil, os.NewSyscallError("CreateFileMapping", err)
	}
	defer func() { _ = windows.CloseHandle(section) }() // the view keeps it
	addr, err := windows.MapViewOfFile(section, windows.FILE_MAP_READ|windows.FILE_MAP_WRITE, 0, 0, uintptr(size))
	if err != nil {
		return nil, os.NewSyscallError("MapViewOfFile", err)
	}
	// By way of a pointer to addr: it is no address of the Go heap, which vet cannot know.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), size), nil //nolint:gosec // G103: memory shared with a file
}

func unmap(mem []byte) { _ = windows.UnmapViewOfFile(uintptr(unsafe.Pointer(&mem[0]))) } //nolint:gosec // G103: what mapShared gave

// monotonic is the time since the machine was started, to about 16 ms; it is the same for all processes.
func monotonic() time.Duration { return windows.DurationSinceBoot() }

// bootID is a text that is different after every start of the machine: the time when the kernel was started, as it was told
// then. SYSTEM_TIMEOFDAY_INFORMATION has that time moved along whenever somebody sets the clock, and by how much it
// has been moved, in all, beside it; the difference never changes. A GUID of the start there is not: the boot identifier
// that the kernel gives is that of the entry in the boot menu. A start out of a saved kernel ("fast startup") has the
// same text as the one before; sessions do not live that long, as their processes end with it.
func bootID() string {
	var info struct {
		Boot, Current, Zone int64 // 100 ns since 1601
		ZoneID, _           uint32
		BootMoved, SleptFor uint64
	}
	err := windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, unsafe.Pointer(&info), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(info.Boot)-info.BootMoved)
}

// account is a user or a group, by its SID; "" when that may not be known.
type account string

// isOwn tells whether what belongs to the account is this process's own: the user's, and for an administrator what belongs to
// Windows or to all administrators, as what is root's on other systems.
func isOwn(owner account) bool {
	return owner != "" && (owner == account(private.User()) || isSuper() && isTrusted(owner))
}

// isTrusted tells of accounts that may do everything, so that nothing of theirs need be feared.
func isTrusted(owner account) bool { return private.Trusted(string(owner)) }

// isSuper tells whether this process may do what every other user may.
var isSuper = sync.OnceValue(private.Elevated)

// inode is what is asked of a file.
type inode struct {
	owner account
	links uint64 // names of the file
	open  bool   // others than its owner may write to it
}

// inodeIn is that of what has the name in a folder. What may not be opened belongs to nobody who is known.
func inodeIn(root *os.Root, name string, _ fs.FileInfo) inode {
	f, err := root.Open(name)
	if err != nil {
		return inode{open: true}
	}
	defer func() { _ = f.Close() }()
	return inodeOf(f, nil)
}

// inodeOf is that of an open file.
func inodeOf(f *os.File, _ fs.FileInfo) inode {
	h := windows.Handle(f.Fd())
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return inode{open: true}
	}
	rights := private.RightsOf(f)
	return inode{links: uint64(info.NumberOfLinks), owner: account(rights.Owner), open: rights.Written}
}

func userName(id account) string { return private.NameOf(string(id)) }

// syncFolder does nothing: Windows has no call that brings the names in a folder to the disk. NTFS and ReFS keep a journal of them.
func syncFolder(*os.Root) error { return nil }

// makeStateDir makes the state folder, and those above it. That of administrators belongs to all of them, as root's belongs to root
// whoever has become root; what each of them makes in it is his.
func makeStateDir(path string) error {
	if !isSuper() {
		return private.MkdirAll(path)
	}
	above := filepath.Dir(path)
	if err := private.MkdirAll(above); err != nil {
		return err
	}
	if isForAllToMake(above) {
		if err := checkAbove(above); err != nil {
			return err
		}
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	sd, err := windows.SecurityDescriptorFromString("O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	err = windows.CreateDirectory(name, &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd})
	if st, serr := os.Stat(path); err != nil && (serr != nil || !st.IsDir()) {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

// isForAllToMake tells of a folder in C:\ProgramData: every user may make one there, with the name of ours before we do.
func isForAllToMake(path string) bool {
	data, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	return err == nil && strings.EqualFold(filepath.Dir(path), data)
}

// checkAbove refuses a folder, or a link in its place, whose owner or others could put another state folder into it.
func checkAbove(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return aboveFault(path, private.RightsOf(f))
}

func aboveFault(path string, rights private.Rights) error {
	why := ""
	switch owner := account(rights.Owner); {
	case !isOwn(owner) && !isTrusted(owner):
		why = fmt.Sprintf("it belongs to another user (%s), who could replace what is in it; remove it", userName(owner))
	case rights.Moved:
		why = fmt.Sprintf("others than administrators may change it; close it with `%s`", closing(path))
	default:
		return nil
	}
	return &fs.PathError{Op: "use", Path: path, Err: fmt.Errorf("%s: %w", why, fs.ErrPermission)}
}

// busyWait is how long a file or folder may be kept from being renamed by others who have it open: those who look at
// sessions, and virus scanners, which open what is new.
const busyWait = 2 * time.Second

// whileBusy tries again for a while what fails because others have a file open.
func whileBusy(do func() error) error {
	for deadline := time.Now().Add(busyWait); ; time.Sleep(retryEvery) {
		err := do()
		busy := errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
		if !busy || time.Now().After(deadline) {
			return err
		}
	}
}

func renameIn(root *os.Root, from, to string) error {
	return whileBusy(func() error { return root.Rename(from, to) })
}

// rename gives the folder another name: itself, by a handle, and not what has its name by then, as the lock, which would keep
// others away, must be closed. A folder in which a file is open cannot be renamed.
func (f *folder) rename(root *os.Root, name string) error {
	if f.lock != nil {
		_ = f.lock.Close()
		f.lock = nil
	}
	here, err := f.root.Stat(".")
	if err != nil {
		return err
	}
	if err := renameFolder(root, f.name, name, here); err != nil {
		return err
	}
	// Wine looks for what is in an open folder by the name that it had.
	again, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	if now, err := again.Stat("."); err != nil || !os.SameFile(now, here) {
		return errors.Join(err, again.Close(), fs.ErrNotExist)
	}
	_ = f.root.Close()
	f.root = again
	return nil
}

// renameFolder renames the folder from, if it is the one that st tells of; else it is gone. It replaces nothing.
func renameFolder(root *os.Root, from, to string, st fs.FileInfo) error {
	parent, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	return whileBusy(func() error {
		h, err := openIn(parent, from, windows.DELETE|windows.FILE_READ_ATTRIBUTES, windows.FILE_DIRECTORY_FILE)
		if err != nil {
			return &fs.PathError{Op: "rename", Path: from, Err: err}
		}
		it := os.NewFile(uintptr(h), from)
		defer func() { _ = it.Close() }()
		if now, err := it.Stat(); err != nil || !os.SameFile(now, st) {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		return os.NewSyscallError("NtSetInformationFile", setName(h, windows.Handle(parent.Fd()), to))
	})
}

// setName is NtSetInformationFile with FILE_RENAME_INFORMATION.
func setName(h, parent windows.Handle, name string) error {
	text, err := windows.UTF16FromString(name)
	if err != nil {
		return err
	}
	var info struct {
		Replace uint32 // a BOOLEAN, and what fills the gap behind it
		Parent  windows.Handle
		Length  uint32 // bytes of the name
		Name    [windows.MAX_PATH]uint16
	}
	if len(text) > len(info.Name) {
		return windows.ERROR_FILENAME_EXCED_RANGE
	}
	info.Parent, info.Length = parent, uint32(2*(len(text)-1))
	copy(info.Name[:], text)
	err = windows.NtSetInformationFile(h, &windows.IO_STATUS_BLOCK{}, (*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), windows.FileRenameInformation)
	if status, ok := errors.AsType[windows.NTStatus](err); ok {
		return status.Errno()
	}
	return err
}

// openIn opens what has the name, one component, in a folder: a file, a folder, or a link itself. access and options are those
// of NtCreateFile.
func openIn(folder *os.File, name string, access, options uint32) (windows.Handle, error) {
	object, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return 0, err
	}
	oa := windows.OBJECT_ATTRIBUTES{RootDirectory: windows.Handle(folder.Fd()), ObjectName: object, Attributes: windows.OBJ_CASE_INSENSITIVE}
	oa.Length = uint32(unsafe.Sizeof(oa))
	var h windows.Handle
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE, &oa, &windows.IO_STATUS_BLOCK{}, nil, windows.FILE_ATTRIBUTE_NORMAL,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, windows.FILE_OPEN,
		options|windows.FILE_OPEN_REPARSE_POINT|windows.FILE_OPEN_FOR_BACKUP_INTENT|windows.FILE_SYNCHRONOUS_IO_NONALERT, 0, 0)
	runtime.KeepAlive(folder)
	if status, ok := errors.AsType[windows.NTStatus](err); ok {
		return 0, status.Errno()
	}
	return h, err
}
