package main

import (
	"os"

	"golang.org/x/sys/unix"

	"pcapctl/capture/caller"
)

// keepMemory keeps the memory of this process from others: there are packets in it,
// keys and signatures, and under sudo or with a file capability rights that its user
// does not have. All of it, and not single buffers: the environment, the text of the
// request and what the Azure SDK makes of them are copies that cannot be followed.
//
// Where one of these is not possible, as in some containers, the others still hold.
func keepMemory() {
	// Without the mappings that a core dump takes by default, also one that root makes
	// (gcore), there is no heap, no stack and no environment in it. core(5). Before the
	// next, by which the file becomes root's.
	_ = os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
	// No dump by the kernel, also where core_pattern names a program, which the limit
	// below does not hold back; no ptrace(2) and no /proc/PID/mem for other processes of
	// this user.
	_ = caller.NotDumpable()
	// For what is started from here and can be dumped: the soft limit, which a command
	// of --on-file may raise again.
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &limit) == nil {
		limit.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
}
