package registry

import (
	"encoding/binary"
	"io"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"pcapctl/capture"
	"pcapctl/storage"
)

// The counters of a running session are words in a file that the capturing
// process has mapped into its memory. Putting them there costs it a few
// stores; they are still there when it was killed; and to look at them is to
// read a file. Each word is right by itself; between two words of one reading
// a block of packets may have come in.

// The words of the file live, 8 bytes each in the machine's order.
const (
	wordFormat = iota
	wordStart  // Unix nanoseconds; 0 while the capture has not begun
	wordClock  // the same moment on the clock that elapsed time is measured by
	wordElapsed
	wordPackets
	wordBytes
	wordSize
	wordReceived
	wordFreezes
	wordByKernel
	wordByInterface
	wordByFile
	wordWrittenPackets
	wordWrittenBytes
	wordWrittenSize
	wordDevice // which file it is; see storage.FileID
	wordInode
	wordBirth
	wordLinks // of the list of interfaces: index and packets dropped by turns

	liveSize  = 4096
	liveWords = liveSize / 8

	// Of the upload, at the end, where a program that does not know them has no
	// interfaces either.
	wordStaged  = liveWords - 2
	wordRetries = liveWords - 1
	uploadWords = 2

	maxLinks   = (liveWords - wordLinks - 1 - uploadWords) / 2
	liveFormat = 0x6c_69_76_65_00_00_00_01 // "live" and the version
)

// page is the file in the capturing process.
type page struct {
	mem  []byte
	dead atomic.Bool
}

func (p *page) word(i int) *uint64 {
	return (*uint64)(unsafe.Pointer(&p.mem[i*8])) //nolint:gosec // G103: aligned, and within the page
}

func (p *page) set(i int, v uint64) { atomic.StoreUint64(p.word(i), v) }

// usable and caught stand around every use of the page: a store into mapped
// memory is a write to a disk, and where that fails the process is sent
// SIGBUS. The capture must not end for it; the counters stop.
func (p *page) usable() bool { return p != nil && !p.dead.Load() }

func (p *page) caught(before bool) {
	debug.SetPanicOnFault(before)
	switch e := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // runtime.Error of a memory fault
		p.dead.Store(true)
	default:
		panic(e)
	}
}

func (p *page) begin(start time.Time, clock time.Duration, id storage.FileID) {
	if !p.usable() {
		return
	}
	defer p.caught(debug.SetPanicOnFault(true))
	p.set(wordDevice, id.Device)
	p.set(wordInode, id.Inode)
	p.set(wordBirth, uint64(id.Birth))
	p.set(wordClock, uint64(clock))
	p.set(wordStart, uint64(start.UnixNano())) // last: it says that the others are there
}

func (p *page) progress(now *capture.Progress) {
	if !p.usable() {
		return
	}
	defer p.caught(debug.SetPanicOnFault(true))
	p.set(wordElapsed, uint64(now.Elapsed))
	p.set(wordPackets, now.Packets)
	p.set(wordBytes, now.Bytes)
	p.set(wordSize, uint64(now.Size))
	p.set(wordReceived, now.Received)
	p.set(wordFreezes, now.Freezes)
	p.set(wordByKernel, now.Dropped.ByKernel)
	p.set(wordByInterface, now.Dropped.ByInterface)
	p.set(wordByFile, now.Dropped.ByFile)
	p.set(wordWrittenPackets, now.Written.Packets)
	p.set(wordWrittenBytes, now.Written.Bytes)
	p.set(wordWrittenSize, uint64(now.Written.Size))
}

func (p *page) links(elapsed time.Duration, list []capture.LinkDrops) {
	if !p.usable() {
		return
	}
	defer p.caught(debug.SetPanicOnFault(true))
	var sum uint64
	for i, l := range list {
		sum += l.Dropped
		if i < maxLinks {
			p.set(wordLinks+1+2*i, uint64(l.Index))
			p.set(wordLinks+2+2*i, l.Dropped)
		}
	}
	p.set(wordLinks, uint64(min(len(list), maxLinks)))
	p.set(wordByInterface, sum)
	p.set(wordElapsed, uint64(elapsed))
}

func (p *page) upload(now capture.UploadProgress) {
	if !p.usable() {
		return
	}
	defer p.caught(debug.SetPanicOnFault(true))
	p.set(wordStaged, uint64(now.Staged))
	p.set(wordRetries, uint64(now.Retries))
}

// live is one reading of the counters.
type live struct {
	start time.Time // zero while the capture has not begun
	clock time.Duration
	file  storage.FileID
	links map[int]uint64 // packets dropped, by interface index
	capture.Progress
}

// live reads the counters; they are zero when there are none.
func (f *folder) live() live {
	file, err := f.file(liveName, os.O_RDONLY)
	if err != nil {
		return live{}
	}
	defer func() { _ = file.Close() }()
	var b [liveSize]byte
	// Not mapped: whoever may shorten the file could end us by it.
	if _, err := io.ReadFull(file, b[:]); err != nil {
		return live{}
	}
	return decodeLive(&b)
}

func decodeLive(b *[liveSize]byte) live {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i*8:]) }
	if word(wordFormat) != liveFormat || word(wordStart) == 0 {
		return live{}
	}
	l := live{
		start: time.Unix(0, int64(word(wordStart))),
		clock: time.Duration(word(wordClock)),
		file:  storage.FileID{Device: word(wordDevice), Inode: word(wordInode), Birth: int64(word(wordBirth))},
		links: map[int]uint64{},
		Progress: capture.Progress{
			Elapsed:  time.Duration(word(wordElapsed)),
			Packets:  word(wordPackets),
			Bytes:    word(wordBytes),
			Size:     int64(word(wordSize)),
			Received: word(wordReceived),
			Freezes:  word(wordFreezes),
			Dropped: capture.Drops{
				ByKernel: word(wordByKernel), ByInterface: word(wordByInterface), ByFile: word(wordByFile),
			},
			Written: capture.Written{
				Packets: word(wordWrittenPackets), Bytes: word(wordWrittenBytes), Size: int64(word(wordWrittenSize)),
			},
			Upload: capture.UploadProgress{
				Staged: int64(word(wordStaged)), Retries: int64(word(wordRetries)),
			},
		},
	}
	for i := range min(int(min(word(wordLinks), maxLinks)), maxLinks) {
		l.links[int(word(wordLinks+1+2*i))] = word(wordLinks + 2 + 2*i)
	}
	return l
}
