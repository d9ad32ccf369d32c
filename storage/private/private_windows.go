package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The kinds of what has a descriptor, by the flags of its entries in SDDL: a folder hands them down to files and folders.
const (
	ofObject = ""
	ofFolder = "OICI"
)

// userSID is the user of this process, as text.
var userSID = sync.OnceValues(func() (string, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "", fmt.Errorf("ask who runs this process: %w", os.NewSyscallError("GetTokenInformation", err))
	}
	return user.User.Sid.String(), nil
})

// sddl is the descriptor of what belongs to the user alone, in the language of [SDDL]. P keeps out what folders above hand down.
// The owner is named, too: what a process of an administrator makes would else belong to the group Administrators, and nobody
// could tell whose session it is.
//
// [SDDL]: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format
func sddl(user, flags, rights string) string {
	return fmt.Sprintf("O:%[1]sD:P(A;%[2]s;%[3]s;;;%[1]s)(A;%[2]s;%[3]s;;;SY)(A;%[2]s;%[3]s;;;BA)", user, flags, rights)
}

func descriptor(flags, rights string) (*windows.SECURITY_DESCRIPTOR, error) {
	user, err := userSID()
	if err != nil {
		return nil, err
	}
	sd, err := windows.SecurityDescriptorFromString(sddl(user, flags, rights))
	if err != nil {
		return nil, fmt.Errorf("make a security descriptor: %w", err)
	}
	return sd, nil
}

// Attributes are for the calls that make an object of the kernel which is not a file, such as an event, a mutex or a pipe: the
// user of this process, SYSTEM and the Administrators have all rights to it, and nobody else has any. The handle is not inherited.
func Attributes() (*windows.SecurityAttributes, error) { return attributes(ofObject, "GA") }

func attributes(flags, rights string) (*windows.SecurityAttributes, error) {
	sd, err := descriptor(flags, rights)
	if err != nil {
		return nil, err
	}
	return &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd}, nil
}

func create(in *os.Root, name string, flag int) (*os.File, error) {
	access := uint32(windows.FILE_GENERIC_WRITE)
	if flag&os.O_WRONLY == 0 {
		access |= windows.FILE_GENERIC_READ
	}
	if flag&os.O_APPEND != 0 {
		access &^= windows.FILE_WRITE_DATA // so that the kernel finds the end at every write
	}
	h, err := createIn(in, name, ofObject, access, windows.FILE_NON_DIRECTORY_FILE)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), filepath.Join(in.Name(), name)), nil
}

func mkdir(in *os.Root, name string) error {
	h, err := createIn(in, name, ofFolder, windows.FILE_LIST_DIRECTORY, windows.FILE_DIRECTORY_FILE)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return windows.CloseHandle(h)
}

// createIn is NtCreateFile with the folder as the root of the name: of the calls that take a descriptor, the only one that does
// not look for the folder by its path again.
func createIn(in *os.Root, name, flags string, access, options uint32) (windows.Handle, error) {
	sd, err := descriptor(flags, "FA")
	if err != nil {
		return 0, err
	}
	folder, err := in.Open(".")
	if err != nil {
		return 0, err
	}
	defer func() { _ = folder.Close() }()
	object, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return 0, err
	}
	oa := windows.OBJECT_ATTRIBUTES{
		RootDirectory: windows.Handle(folder.Fd()), ObjectName: object,
		// No name is looked up that leads elsewhere, as in a Root.
		Attributes: windows.OBJ_CASE_INSENSITIVE | windows.OBJ_DONT_REPARSE, SecurityDescriptor: sd,
	}
	oa.Length = uint32(unsafe.Sizeof(oa))
	var h windows.Handle
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE|windows.FILE_READ_ATTRIBUTES|windows.READ_CONTROL, &oa, &windows.IO_STATUS_BLOCK{}, nil, windows.FILE_ATTRIBUTE_NORMAL,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, windows.FILE_CREATE,
		options|windows.FILE_SYNCHRONOUS_IO_NONALERT|windows.FILE_OPEN_REPARSE_POINT, 0, 0)
	runtime.KeepAlive(folder)
	return h, plain(err)
}

// plain is the error of NtCreateFile as other calls give it.
func plain(err error) error {
	status, ok := errors.AsType[windows.NTStatus](err)
	switch {
	case !ok:
		return err
	case status == windows.STATUS_OBJECT_NAME_COLLISION:
		return syscall.EEXIST
	}
	return status.Errno()
}

func createFile(path string, flag int) (*os.File, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	f, err := Create(dir, filepath.Base(path), flag)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, &fs.PathError{Op: e.Op, Path: path, Err: e.Err}
	}
	return f, err
}

func mkdirAll(path string) error {
	path = filepath.Clean(path)
	if st, err := os.Stat(path); err == nil {
		if st.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	if parent := filepath.Dir(path); parent != path {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	sa, err := attributes(ofFolder, "FA")
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err == nil {
		err = windows.CreateDirectory(name, sa)
	}
	if err == nil {
		return nil
	}
	if st, serr := os.Stat(path); serr == nil && st.IsDir() {
		return nil // made by another process meanwhile
	}
	return &fs.PathError{Op: "mkdir", Path: path, Err: err}
}

// Kept tells whether the file system of f keeps the rights of its files; FAT and exFAT do not.
func Kept(f *os.File) bool {
	var flags uint32
	err := windows.GetVolumeInformationByHandle(windows.Handle(f.Fd()), nil, 0, nil, nil, &flags, nil, 0)
	return err != nil || flags&windows.FILE_PERSISTENT_ACLS != 0
}
