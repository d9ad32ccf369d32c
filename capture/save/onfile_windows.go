package save

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/windows"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// shellCommand runs a command in a folder by cmd.exe, which is not looked for by PATH. /D leaves out what the registry has
// every cmd.exe run first; with /S all between the outer quotes is the command, as it is.
func shellCommand(ctx context.Context, folder, command string) *exec.Cmd {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		dir = `C:\Windows\System32`
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "cmd.exe"))
	cmd.Dir = folder
	// A console of its own, without a window: Ctrl-C at ours does not reach it, and a background process has none to give.
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd.exe /D /S /C "` + command + `"`, CreationFlags: windows.CREATE_NO_WINDOW | windows.CREATE_NEW_PROCESS_GROUP}
	return cmd
}

// runAsGroup runs the command in a job, so that all of it can be ended at once: what it has started, too.
func runAsGroup(cmd *exec.Cmd) error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return os.NewSyscallError("CreateJobObject", err)
	}
	defer func() { _ = windows.CloseHandle(job) }()
	cmd.Cancel = func() error {
		return errors.Join(windows.TerminateJobObject(job, 1), cmd.Process.Kill())
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// What it has started before this is not in the job, and is not ended; to start anything takes it longer.
	_ = cmd.Process.WithHandle(func(h uintptr) { _ = windows.AssignProcessToJobObject(job, windows.Handle(h)) })
	return cmd.Wait()
}

// passedOn are the variables of our own environment that a command gets, in upper case. There may be secrets in others.
var passedOn = []string{
	"PATH", "PATHEXT", "COMSPEC", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP", "USERNAME", "USERDOMAIN", "USERPROFILE", "APPDATA",
	"LOCALAPPDATA", "PROGRAMDATA", "ALLUSERSPROFILE", "PUBLIC", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "COMPUTERNAME", "PROCESSOR_ARCHITECTURE",
	"PSMODULEPATH",
}

func passesOn(name string) bool { return slices.Contains(passedOn, strings.ToUpper(name)) }

// maxCommand is how long a command line of cmd.exe may be, less what surrounds it.
const maxCommand = 8191 - 64

// plain are the characters, beside letters and digits, that mean nothing to cmd.exe and PowerShell but themselves.
const plain = ` -_.,:\/+=#~`

// Check finds a command that must not be run. cmd.exe puts the values of variables into a command before it looks for what
// is one: of a file "a&format c:.cap" the command `copy %PCAPCTL_FILE% D:\` would be two. So there is no command for files, and
// no session, whose names have anything in them that means something to a shell. path is that of the first file.
func (o OnFile) Check(c *request.Config, path string) error {
	switch {
	case o.Command == "":
		return nil
	case len(o.Command) > maxCommand:
		return fmt.Errorf("the command has %d bytes, and cmd.exe takes %d", len(o.Command), maxCommand)
	case strings.ContainsFunc(o.Command, unicode.IsControl):
		return errors.New("the command has a line feed or another control character in it, at which cmd.exe ends: write a batch file, and give its path")
	}
	for _, v := range told(settingOf(c, filepath.Dir(path)), fact{Name: filepath.Base(path)}) {
		name, value, _ := strings.Cut(v, "=")
		for _, r := range value {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(plain, r) {
				return fmt.Errorf("the command would be told %s=%s, and cmd.exe would take %q for a part of the command: choose another name", name, fault.Quote(value), string(r))
			}
		}
	}
	return nil
}
