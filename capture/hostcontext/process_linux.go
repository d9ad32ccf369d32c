package hostcontext

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pcapctl/capture/container"
)

// process is one that has a socket.
type process struct {
	pid       int
	start     string // when it began: its id may be another's later
	program   string // name of its file
	command   string // what it calls itself
	container string // id, "" for none
	sure      bool   // that it is in that container
}

// finder finds whose a socket is, by the open files of processes.
type finder struct {
	// last are the processes that had sockets before, which are looked at first: most new
	// sockets are theirs.
	last    map[int]bool
	denied  bool // there are processes that this one may not look at
	link    []byte
	cgroups string // folder of the cgroups
}

func newFinder(cgroups string) *finder { return &finder{last: map[int]bool{}, cgroups: cgroups} }

// maxProcesses bounds how many processes are looked at.
const maxProcesses = 100_000

// find calls found for every socket of wanted, by its inode, whose process is found. It
// ends when all are.
func (f *finder) find(wanted map[uint32]bool, found func(inode uint32, p *process)) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	names, _ := proc.Readdirnames(maxProcesses)
	_ = proc.Close()
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int {
		if f.last[a] != f.last[b] {
			if f.last[a] {
				return -1
			}
			return 1
		}
		return b - a // the youngest first, as a rule
	})
	for pid := range f.last {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
			delete(f.last, pid)
		}
	}
	for _, pid := range pids {
		if len(wanted) == 0 {
			return
		}
		f.look(pid, wanted, found)
	}
}

// look looks at the open files of one process.
func (f *finder) look(pid int, wanted map[uint32]bool, found func(inode uint32, p *process)) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		f.denied = f.denied || errors.Is(err, fs.ErrPermission)
		return
	}
	defer func() { _ = fds.Close() }()
	var p *process
	for {
		names, err := fds.Readdirnames(256)
		for _, fd := range names {
			inode, ok := f.socketOf(fds, fd)
			if !ok {
				continue
			}
			if !wanted[inode] {
				continue
			}
			if p == nil {
				if p = f.readProcess(dir, pid); p == nil {
					return
				}
			}
			// It may have been closed meanwhile, and the process be another: only what is the
			// same before and after is believed.
			if again, ok := f.socketOf(fds, fd); !ok || again != inode || startOf(dir) != p.start {
				continue
			}
			delete(wanted, inode)
			f.last[pid] = true
			found(inode, p)
		}
		if err != nil || len(names) == 0 {
			f.denied = f.denied || errors.Is(err, fs.ErrPermission)
			return
		}
	}
}

// readProcess reads what a process is, nil when it has ended.
func (f *finder) readProcess(dir string, pid int) *process {
	p := &process{pid: pid, start: startOf(dir)}
	if p.start == "" {
		return nil
	}
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		p.command = strings.TrimRight(string(comm), "\n")
	}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		p.program = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	}
	if p.program == "" {
		p.program = p.command
	}
	p.container, p.sure = container.OfProcess(dir, f.cgroups)
	return p
}

// startOf is when a process began, as /proc has it; "" for one that is not there.
func startOf(dir string) string {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return ""
	}
	const field, behindName = 22, 3
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) <= field-behindName {
		return ""
	}
	return f[field-behindName]
}

// socketOf is the inode of the socket that an open file is.
func (f *finder) socketOf(fds *os.File, name string) (inode uint32, ok bool) {
	if f.link == nil {
		f.link = make([]byte, 64)
	}
	n, err := unix.Readlinkat(int(fds.Fd()), name, f.link)
	const prefix = "socket:["
	if err != nil || n < len(prefix)+2 || string(f.link[:len(prefix)]) != prefix || f.link[n-1] != ']' {
		return 0, false
	}
	for _, c := range f.link[len(prefix) : n-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		inode = inode*10 + uint32(c-'0')
	}
	return inode, true
}
