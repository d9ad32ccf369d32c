package save

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// MinMinFree is the least disk reserve other than none, in bytes. Less would be
// too little for other programs to go on.
const MinMinFree = 4 << 20

// The default of the disk reserve: 64 MiB, and none on a disk of which that
// would be more than a hundredth: a small disk is there to be filled.
const (
	mostMinFree = 64 << 20
	minFreePart = 100
	// How often the disk is asked, as others may fill it: while the capture
	// writes, and while it does not.
	lookWriting = 250 * time.Millisecond
	lookIdle    = 2 * time.Second
	// What a file takes besides its bytes: the rest of its last block, and the blocks
	// that say where the others are, which ext4 gives it only when it writes them back.
	// A capture ends by so much before the reserve, and takes nothing from it.
	fileOverhead = 64 << 10
)

// ErrSpent ends a capture that would take from the disk reserve.
var ErrSpent = errors.New("the disk reserve is reached")

// Reserve is the space that a capture leaves on its disk; the zero Reserve is
// none. Who writes to the files calls room; the rest may be called by others.
type Reserve struct {
	folder *storage.Folder
	least  int64 // bytes, 0 for no reserve
	asked  bool  // somebody asked for it: it is a limit like others
	// allowed is how many bytes the capture may have written in all before the
	// disk has to be asked again.
	allowed atomic.Int64
	looked  time.Time // by the writer
	spent   atomic.Bool
}

// Open looks at the disk of the folder. minFree is in bytes, 0 for none and nil
// for the default.
//
// Error class: LocalFile (the disk is fuller than that already).
func (r *Reserve) Open(folder *storage.Folder, minFree *int64) error {
	free, total, ok := folder.Space()
	var least int64
	switch {
	case !ok:
	case minFree != nil:
		least = *minFree
	case total/minFreePart >= mostMinFree:
		least = mostMinFree
	}
	if least == 0 {
		return nil
	}
	if free < least+2*fileOverhead { // it would end at once
		return fault.Errorf(fault.LocalFile, "the disk of %s has %s left, of which %s are to stay free: free some space, or lower --min-free (0 turns it off)",
			folder.Path(), fault.Size(free), fault.Size(least))
	}
	r.folder, r.least, r.asked = folder, least, minFree != nil
	folder.Reserve(least)
	r.look(0)
	return nil
}

// look asks the disk, when written bytes have been written in all.
func (r *Reserve) look(written int64) {
	free, _, ok := r.folder.Space()
	if !ok {
		return // it has no reserve that could be looked at
	}
	r.allowed.Store(written + free - r.least - fileOverhead)
	if free < r.least {
		r.spent.Store(true)
	}
}

// Spent reports whether the disk has no more than the reserve.
func (r *Reserve) Spent() bool { return r.spent.Load() }

// Watch looks at the disk while others fill it, until done is closed. It calls
// spent, once, when the reserve is reached.
func (r *Reserve) Watch(done <-chan struct{}, c *Counters, spent func()) {
	if r.least == 0 {
		return
	}
	tick := time.NewTicker(lookIdle)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if r.look(c.total.Load()); r.Spent() {
			spent()
			return
		}
	}
}

// Failure is the error of a session that the reserve has ended. One that was
// asked for is a limit, and a session that reaches it is complete. Nobody asked
// for the default: it keeps a full disk from the machine, but what was asked
// for has not been captured.
func (r *Reserve) Failure() error {
	if r.asked {
		return nil
	}
	return fault.Errorf(fault.LocalFile, "the capture ended before its limits, as the disk of %s has only %s left; what was captured is complete up to there: "+
		"free some space or set smaller limits; with --min-free a reserve is a limit, 0 turns it off", r.folder.Path(), fault.Size(r.least))
}

// room is how many of n bytes more may be written, when written bytes have been
// written in all. Less than n is the end.
func (r *Reserve) room(written, n int64) int64 {
	if r.least == 0 {
		return n
	}
	if now := time.Now(); written+n > r.allowed.Load() || now.Sub(r.looked) >= lookWriting {
		r.looked = now
		r.look(written)
	}
	if r.Spent() {
		return 0
	}
	room := min(n, max(0, r.allowed.Load()-written))
	if room < n {
		r.spent.Store(true)
	}
	return room
}

// CheckMinFree checks the reserve that was asked for, in bytes.
//
// Error class: Invalid.
func CheckMinFree(n *int64) error {
	if n == nil || *n == 0 || *n >= MinMinFree {
		return nil
	}
	return &fault.Error{Class: fault.Invalid, Target: "min-free", Message: fmt.Sprintf("%d bytes given; allowed: 0 (none) or a size from %s on", *n, fault.Size(MinMinFree))}
}
