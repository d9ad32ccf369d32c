package netif

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace tells when a network namespace has been deleted. Sockets of this
// process keep the namespace and its interfaces alive, so that the kernel says
// nothing of it.
type Namespace struct {
	path string // of a file that stands for the namespace
	id   namespaceID
	of   string // id of the process that captures in it
}

// namespaceOf is a namespace that this process captures in.
func namespaceOf(path string, id namespaceID) *Namespace {
	return &Namespace{path, id, strconv.Itoa(os.Getpid())}
}

// namespaceID is the inode of a namespace, in the file system nsfs.
type namespaceID struct{ device, inode uint64 }

func idOf(path string) (namespaceID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return namespaceID{}, err
	}
	return namespaceID{st.Dev, st.Ino}, nil
}

// FindNamespace finds the namespace ns, as In takes it; "" is that of the calling
// thread. It is false for one that nobody can delete as long as this process
// runs: that of the machine or of the container, or one without a name.
func FindNamespace(ns string) (*Namespace, bool) {
	if ns != "" {
		path := namespacePath(ns)
		id, err := idOf(path)
		return namespaceOf(path, id), err == nil
	}
	id, err := idOf("/proc/thread-self/ns/net")
	if err != nil {
		return nil, false
	}
	if first, err := idOf("/proc/1/ns/net"); err == nil && first == id {
		return nil, false
	}
	mounts := id.mounts()
	if len(mounts) == 0 {
		return nil, false
	}
	return namespaceOf(mounts[0], id), true
}

// Gone reports whether the namespace has been deleted: its name is gone, no other
// process is in it, and it is mounted nowhere else.
func (n *Namespace) Gone() bool {
	if id, err := idOf(n.path); err == nil && id == n.id {
		return false
	}
	return len(n.id.mounts()) == 0 && !n.used()
}

// mounts are the paths at which the namespace is mounted. proc_pid_mountinfo(5).
func (id namespaceID) mounts() (paths []string) {
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	root := fmt.Sprintf("net:[%d]", id.inode)
	for line := range strings.Lines(string(list)) {
		const rootField, pathField = 3, 4
		if f := strings.Fields(line); len(f) > pathField && f[rootField] == root {
			paths = append(paths, unescapeMount(f[pathField]))
		}
	}
	return paths
}

// unescapeMount reads a path of mountinfo, in which white space and backslashes
// are three octal digits behind a backslash.
func unescapeMount(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if len(s) >= 4 && s[0] == '\\' {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// used reports whether a process other than the one that captures and those that it
// has started (the guard of the files, commands for them) is in the namespace.
// Those that this process may not look at do not count: the namespace has no name
// any more.
func (n *Namespace) used() bool {
	proc, err := os.Open("/proc")
	if err != nil {
		return true
	}
	defer func() { _ = proc.Close() }()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return true
	}
	for _, pid := range names {
		// Not by a list of the folder ns, which only the process' own user may read.
		other, err := idOf(filepath.Join("/proc", pid, "ns", "net"))
		if err == nil && other == n.id && isNumber(pid) && !descends(pid, n.of) {
			return true
		}
	}
	return false
}

// isNumber tells a process in /proc from the names that stand for this one.
func isNumber(name string) bool {
	_, err := strconv.ParseUint(name, 10, 31)
	return err == nil
}

// descends tells whether a process is another one or was started by it, in some
// steps.
func descends(pid, from string) bool {
	for range 8 {
		if pid == from {
			return true
		}
		pid = parentOf(pid)
	}
	return false
}

// Fields of proc_pid_stat(5).
const (
	parentField = 4
	startField  = 22
)

// parentOf is the parent of a process.
func parentOf(pid string) string { return statField(pid, parentField) }

// statField is a field of proc_pid_stat(5), "" for a process that is not there: the name
// of its program stands in brackets and may hold any character.
func statField(pid string, field int) string {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return ""
	}
	const behindName = 3
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) <= field-behindName {
		return ""
	}
	return f[field-behindName]
}
