// Package sandbox gives up what a process does not need any more: capabilities
// for good, and by Landlock and seccomp what files it opens, where it connects to
// and which system calls it makes.
//
// Whatever it does it does for all threads, and nothing of it can be undone: a
// process calls Enter, Guard, LookAtOthers, Observe or StartCommands once.
package sandbox

import (
	"fmt"
	"strings"
)

// Policy is what a process needs for the rest of its life. The zero Policy is
// nothing but what it has open.
type Policy struct {
	// Off leaves Landlock and seccomp out. Capabilities are given up all the same.
	Off bool
	// Folders are those that files are written in, with all below them. One that does
	// not exist is passed over.
	Folders []Folder
	// Emptied are folders out of which empty folders are removed.
	Emptied []string
	// Discards are folders out of which files are removed, with all below.
	Discards []string
	// Readable are further files and folders that are read. What does not exist is
	// passed over.
	Readable []string
	// Ports are the TCP ports that may be connected to, on any host. Without any, the
	// process has no network at all.
	Ports []uint16
	// Programs says that other programs are started, which need files and system
	// calls that nobody knows beforehand: files are then not confined.
	Programs bool
	// Users says that the process has the rights of a user for a time, and those of
	// root before and after (setresuid(2)), which seccomp then lets it change. It is
	// entered with the rights of the user, after Settle was called with those of root.
	Users bool

	// Observes says that the state of the system's clock is asked for (adjtimex(2)), which
	// takes a capability to set, and that packet filters are, by raw sockets.
	Observes bool

	// override says that CAP_DAC_OVERRIDE is needed; it is known when settled is true.
	override, settled bool
}

// Folder is one that files are written in.
type Folder struct {
	Path string
	// Changes says that files are made and removed in it from now on, and not only
	// looked at: it decides which rights of the user must suffice.
	Changes bool
}

// Level is what was given up.
type Level struct {
	// Capabilities are those that were kept, by their names, such as
	// CAP_DAC_OVERRIDE; none as a rule.
	Capabilities []string `json:"capabilities"`
	// Landlock is the version of Landlock's interface in use, 0 for none.
	Landlock int `json:"landlock"`
	// Seccomp says that system calls are filtered.
	Seccomp bool `json:"seccomp"`
	// Programs is that of the policy.
	Programs bool `json:"programs"`
}

// String says it for people.
func (l Level) String() string {
	parts := []string{"no capabilities"}
	if len(l.Capabilities) > 0 {
		parts[0] = "no capability but " + strings.Join(l.Capabilities, ", ")
	}
	switch {
	case l.Landlock == 0:
		parts = append(parts, "no Landlock")
	case l.Programs:
		parts = append(parts, fmt.Sprintf("Landlock (version %d) for the network only, as a login may run other programs", l.Landlock))
	default:
		parts = append(parts, fmt.Sprintf("Landlock (version %d)", l.Landlock))
	}
	switch {
	case !l.Seccomp:
		parts = append(parts, "no seccomp filter")
	case l.Programs:
		parts = append(parts, "a seccomp filter that lets programs be run")
	default:
		parts = append(parts, "a seccomp filter")
	}
	return strings.Join(parts, ", ")
}
