package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"

	"pcapctl/capture/fault"
)

// The words of help and messages that name places and shells of this system.
const (
	capturesDirWords = `C:\Captures, and a file may also lie in any other folder of a drive`
	stateDirWords    = `%ProgramData%\pcapctl\sessions for administrators, %LocalAppData%\pcapctl\sessions for others`
	configFileWords  = `%AppData%\pcapctl\config.yaml, then %ProgramData%\pcapctl\config.yaml`
	asRootWords      = "as administrators"
	onFileWords      = "`command` that cmd.exe runs for every finished file, which is %PCAPCTL_FILE%"
)

// machineConfig is the path of the machine's own configuration file. Windows is asked where that is, and not the environment, which
// whoever starts the program sets.
func machineConfig() string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	if err != nil {
		dir = `C:\ProgramData`
	}
	return filepath.Join(dir, "pcapctl", "config.yaml")
}

// localExample is an example of the help as it is written in PowerShell: nobody becomes administrator by a word before a command, and
// a line goes on behind a backtick.
func localExample(text string) string {
	return strings.NewReplacer("  sudo ", "  ", " \\\n", " `\n", "/var/captures/", `C:\Captures\`).Replace(text)
}

// readCommand shows what is in a capture file. Of the programs that show packets Windows has none, and no other folder of programs
// than that of Windows is looked through.
func readCommand(path string, _ bool) string { return "pcapctl inspect " + shellWord(path) }

// shellWord quotes a path for PowerShell where it needs that, and for cmd.exe where that can be.
func shellWord(path string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`/\._-+:`, r)
	}
	switch {
	case path != "" && strings.IndexFunc(path, func(r rune) bool { return !safe(r) }) < 0:
		return path
	case strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }):
		return fault.Quote(path)
	case strings.ContainsAny(path, "$`"):
		return "'" + strings.ReplaceAll(path, "'", "''") + "'"
	}
	return `"` + path + `"`
}

// checkDrive finds folders that are not on a drive of this machine. The service takes "a valid local path", and of another machine's
// disk nobody knows when it has what was written. Whether a letter stands for such a disk cannot be seen in a path.
func checkDrive(folder string) error {
	drive := filepath.VolumeName(folder) + `\`
	name, err := windows.UTF16PtrFromString(drive)
	if err != nil {
		return wrongPath("%s is not a valid path: %v", fault.Quote(folder), err)
	}
	switch windows.GetDriveType(name) {
	case windows.DRIVE_REMOTE:
		return wrongPath("%s is a drive of the network: captures lie on a drive of this machine; copy them from there when they are complete", drive)
	case windows.DRIVE_NO_ROOT_DIR:
		return wrongPath("there is no drive %s on this machine: write the path of a drive that is there", drive)
	}
	return nil
}

func wrongPath(format string, args ...any) error {
	return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.storageLocation.filePath", Message: fmt.Sprintf(format, args...)}
}

// isBelowFile tells whether a path is that of a file, or lies below one. Windows says of both that they are not there.
func isBelowFile(path string) bool {
	for {
		st, err := os.Stat(path)
		if err == nil {
			return !st.IsDir()
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}

// isElsewhere tells of a path that looks absolute to a shell or to another system, or is relative to a drive.
func isElsewhere(path string) bool {
	return strings.HasPrefix(path, "~") || os.IsPathSeparator(path[0]) || filepath.VolumeName(path) != ""
}
