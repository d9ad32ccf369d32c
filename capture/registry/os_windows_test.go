package registry

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"pcapctl/capture/fault"
	"pcapctl/capture/save"
	"pcapctl/capture/testwine"
	"pcapctl/storage"
	"pcapctl/storage/private"
)

// thisProcess is a note that names this process.
func thisProcess(t testing.TB) note {
	t.Helper()
	created, err := createdAt(windows.CurrentProcess())
	must(t, err)
	return note{uint32(os.Getpid()), created, strings.Repeat("A", tokenSize)}
}

// What was written in a lock file is read, and of any other bytes nothing.
func FuzzNote(f *testing.F) {
	n := thisProcess(f)
	f.Add(n.encode())
	f.Add(n.encode()[:noteSize-1])
	f.Add(append(make([]byte, 16), n.token...))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := decodeNote(data)
		if n == (note{}) {
			return
		}
		if again := n.encode(); decodeNote(again) != n || string(again) != string(data) {
			t.Errorf("%x became %+v, and that %x", data, n, again)
		}
		if n.pid == 0 || strings.ContainsAny(n.token, `\/`) {
			t.Errorf("%+v", n)
		}
	})
}

// A later process that was given the id of one that has ended is not taken for it.
func TestProcessIDIsGivenAgain(t *testing.T) {
	n := thisProcess(t)
	p, err := openProcess(n)
	must(t, err)
	if is, err := p.facts(); err != nil || is.inner != os.Getpid() || !isOwn(is.owners[0]) || !strings.HasSuffix(is.command, ".exe") {
		t.Errorf("%+v, %v", is, err)
	}
	p.close()
	n.created--
	if p, err := openProcess(n); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("%+v, %v", p, err)
	}
	n.pid = 1<<32 - 4 // no process has it
	if p, err := openProcess(n); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("%+v, %v", p, err)
	}

	// The same of a session, whose lock nobody has.
	path := filepath.Join(t.TempDir(), lockName)
	for _, test := range []struct {
		earlier uint64
		alive   bool
	}{{0, true}, {1, false}} {
		n := thisProcess(t)
		n.created -= test.earlier
		must(t, os.WriteFile(path, n.encode(), 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		if pid, alive, err := holder(f); err != nil || alive != test.alive || pid != os.Getpid() && alive {
			t.Errorf("%+v: %d, %v, %v", test, pid, alive, err)
		}
		must(t, f.Close())
	}
}

// A name that is taken already is not that of an event by which a session is stopped: somebody else could set it, or keep others from it.
func TestEventIsMadeAnew(t *testing.T) {
	token := "TESTEVENTISMADEANEW0000000"
	name, err := eventName(token)
	must(t, err)
	sa, err := private.Attributes()
	must(t, err)
	squatted, err := windows.CreateEvent(sa, 1, 0, name)
	must(t, err)
	var a asks
	if err := a.make(token); !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		t.Errorf("got %v", err)
	}
	a.close()
	must(t, windows.CloseHandle(squatted))
	must(t, a.make(token))
	select {
	case <-a.asked():
		t.Error("asked by nobody")
	default:
	}
	// An administrator does not set what belongs to others, wherever its name comes from.
	if err := ask(token, private.System); !errors.Is(err, errForged) {
		t.Errorf("got %v", err)
	}
	must(t, ask(token, account(private.User())))
	<-a.asked()
	a.close()
	must(t, ask(token, account(private.User()))) // there is none any more: the session has ended
}

// Only the folder that was looked at is renamed, and nothing is replaced.
func TestRenameFolder(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	defer func() { _ = root.Close() }()
	must(t, root.Mkdir("a", 0o700))
	st, err := root.Lstat("a")
	must(t, err)
	must(t, root.Mkdir("taken", 0o700))
	if err := renameFolder(root, "a", "taken", st); err == nil {
		t.Error("another folder was replaced")
	}
	must(t, renameFolder(root, "a", "b", st))
	must(t, root.Mkdir("a", 0o700))
	if err := renameFolder(root, "a", "c", st); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another folder: %v", err)
	}
	if err := renameFolder(root, "absent", "c", st); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

// A folder that everybody may change is refused, and the command that is named for it closes it.
func TestClosing(t *testing.T) {
	r, c := claimOne(t, "one")
	defer c.Abandon()
	sd, err := windows.SecurityDescriptorFromString("D:(A;OICI;FA;;;WD)")
	must(t, err)
	everybody, _, err := sd.DACL()
	must(t, err)
	must(t, windows.SetNamedSecurityInfo(r.Dir(), windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, everybody, nil))
	_, err = r.List()
	if err == nil {
		testwine.Broken(t, "it keeps of a DACL what fits into a mode")
	}
	command := closing(r.Dir())
	if fault.ClassOf(err) != fault.Forbidden || !strings.Contains(err.Error(), command) || !strings.Contains(command, "*"+private.User()) {
		t.Fatalf("got %v", err)
	}
	testwine.Broken(t, "its icacls does nothing")
	cmd := exec.CommandContext(t.Context(), "cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd.exe /d /s /c "` + command + `"`}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	if _, err := r.List(); err != nil {
		t.Error(err)
	}
}

// A folder above the state folder that another user has made is refused: he could exchange all that is in it.
func TestFolderAboveIsOurs(t *testing.T) {
	const somebody = "S-1-5-21-1-2-3-1001"
	for _, tt := range []struct {
		rights  private.Rights
		refused bool
	}{
		{private.Rights{Owner: private.User()}, false},
		{private.Rights{Owner: private.Administrators, Written: true}, false},
		{private.Rights{Owner: private.Administrators, Moved: true}, true},
		{private.Rights{Owner: somebody}, true},
		{private.Rights{}, true},
	} {
		err := aboveFault(`C:\ProgramData\pcapctl`, tt.rights)
		if errors.Is(err, fs.ErrPermission) != tt.refused {
			t.Errorf("%+v: %v", tt.rights, err)
		}
	}
	data, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	must(t, err)
	if !isForAllToMake(filepath.Join(data, "pcapctl")) || isForAllToMake(filepath.Join(data, "pcapctl", "sessions")) {
		t.Error("the folder below ProgramData, and no other, is for all to make")
	}
	must(t, checkAbove(t.TempDir()))
}

// A file that another program keeps from being written to is repaired later, and not given up.
func TestRepairWaitsForReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cap")
	must(t, os.WriteFile(path, make([]byte, 100), 0o600))
	made, err := storage.IdentifyPath(path)
	must(t, err)
	name, err := windows.UTF16PtrFromString(path)
	must(t, err)
	reader, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
	must(t, err)
	if _, final := repair(path, made, save.Written{}); final {
		t.Error("nobody will look at the file again")
	}
	must(t, windows.CloseHandle(reader))
	must(t, os.Remove(path))
	if _, final := repair(path, made, save.Written{}); !final {
		t.Error("a file that is gone is looked for again")
	}
}

// An administrator can switch on the privilege that opens the processes of others.
func TestSeeAll(t *testing.T) {
	if !isSuper() {
		t.Skip("not an administrator")
	}
	must(t, seeAll())
	h, err := openID(uint32(os.Getpid()))
	must(t, err)
	must(t, windows.CloseHandle(h))
}

// The identity of the machine's start is the same whenever it is asked for.
func TestBootID(t *testing.T) {
	if id := bootID(); len(id) != 16 || id != bootID() {
		t.Errorf("%q", id)
	}
}

// A lock file that names another process than the one that holds it is told to be so, and nobody is stopped.
func TestForgedLockFile(t *testing.T) {
	r, c := claimOne(t, "one")
	defer c.Abandon()
	n := thisProcess(t)
	n.created--
	b := n.encode()
	binary.LittleEndian.PutUint64(b, uint64(os.Getpid()))
	_, err := c.lock.WriteAt(b, 0)
	must(t, err)
	_, _, err = r.Stop(t.Context(), "one")
	if err == nil || !strings.Contains(err.Error(), errUnnamed.Error()) {
		t.Errorf("got %v", err)
	}
	select {
	case <-c.Asked():
		t.Error("it was stopped")
	default:
	}
}
