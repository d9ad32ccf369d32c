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
	"pcapctl/capture/deliver"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// The counters of a running session are words in a file that the capturing
// process has mapped into its memory. To update them costs a few stores, they
// survive the process, and others read them from the file. Each word is correct
// by itself; two words of one reading may be from before and after a block of
// packets.

// The words of the file live: 8 bytes each, in the byte order of the machine.
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
	wordLinks // how many interfaces follow, each with two words: its index, packets dropped

	liveSize  = 4096
	liveWords = liveSize / 8

	// Of the upload. They are at the end, where older programs have interfaces
	// only when there are very many.
	wordStaged  = liveWords - 2
	wordRetries = liveWords - 1
	uploadWords = 2

	maxLinks   = (liveWords - wordLinks - 1 - uploadWords) / 2
	liveFormat = 0x6c_69_76_65_00_00_00_01 // "live" and the version
)

// page is the file as the capturing process has it mapped.
type page struct {
	mem  []byte
	dead atomic.Bool
}

func (p *page) word(i int) *uint64 {
	return (*uint64)(unsafe.Pointer(&p.mem[i*8])) //nolint:gosec // G103: aligned, and within the page
}

func (p *page) set(i int, v uint64) { atomic.StoreUint64(p.word(i), v) }

// usable and recovered surround every method that sets words. A store into
// mapped memory is a write to a disk, and where that fails the kernel sends
// SIGBUS. That must not end the capture: only the counters stop.
func (p *page) usable() bool { return !p.dead.Load() }

func (p *page) recovered(before bool) {
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
	defer p.recovered(debug.SetPanicOnFault(true))
	p.set(wordDevice, id.Device)
	p.set(wordInode, id.Inode)
	p.set(wordBirth, uint64(id.Birth))
	p.set(wordClock, uint64(clock))
	p.set(wordStart, uint64(start.UnixNano())) // last: the others count only with it
}

func (p *page) progress(now *capture.Progress) {
	if !p.usable() {
		return
	}
	defer p.recovered(debug.SetPanicOnFault(true))
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

func (p *page) links(elapsed time.Duration, list []source.Link) {
	if !p.usable() {
		return
	}
	defer p.recovered(debug.SetPanicOnFault(true))
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

func (p *page) upload(now deliver.Progress) {
	if !p.usable() {
		return
	}
	defer p.recovered(debug.SetPanicOnFault(true))
	p.set(wordStaged, uint64(now.Staged))
	p.set(wordRetries, uint64(now.Retries))
}

// counters is one reading of the counters.
type counters struct {
	start time.Time // zero while the capture has not begun
	clock time.Duration
	file  storage.FileID // the capture file; zero when it could not be told
	links map[int]uint64 // packets dropped, by interface index
	capture.Progress
}

// counters reads the counters. They are zero when they cannot be read.
func (f *folder) counters() counters {
	file, err := f.file(liveName, os.O_RDONLY, liveSize)
	if err != nil {
		return counters{}
	}
	defer func() { _ = file.Close() }()
	var b [liveSize]byte
	// Not mapped: a reader of a mapped file that is shortened gets SIGBUS.
	if _, err := io.ReadFull(file, b[:]); err != nil {
		return counters{}
	}
	return decodeCounters(&b)
}

// decodeCounters takes any bytes. Sizes and durations are never negative, and
// there are at most maxLinks interfaces.
func decodeCounters(b *[liveSize]byte) counters {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i*8:]) }
	if word(wordFormat) != liveFormat || word(wordStart) == 0 {
		return counters{}
	}
	size := func(i int) int64 { return notNegative(word(i)) }
	c := counters{
		start: time.Unix(0, size(wordStart)),
		clock: time.Duration(size(wordClock)),
		file:  storage.FileID{Device: word(wordDevice), Inode: word(wordInode), Birth: int64(word(wordBirth))},
		links: map[int]uint64{},
		Progress: capture.Progress{
			Elapsed:  time.Duration(size(wordElapsed)),
			Packets:  word(wordPackets),
			Bytes:    word(wordBytes),
			Size:     size(wordSize),
			Received: word(wordReceived),
			Freezes:  word(wordFreezes),
			Dropped: capture.Drops{
				ByKernel: word(wordByKernel), ByInterface: word(wordByInterface), ByFile: word(wordByFile),
			},
			Written: save.Written{
				Packets: word(wordWrittenPackets), Bytes: word(wordWrittenBytes), Size: size(wordWrittenSize),
			},
			Upload: deliver.Progress{
				Staged: size(wordStaged), Retries: size(wordRetries),
			},
		},
	}
	for i := range int(min(word(wordLinks), maxLinks)) {
		c.links[int(word(wordLinks+1+2*i))] = word(wordLinks + 2 + 2*i)
	}
	return c
}

// notNegative reads a word that holds a size or a time, of which the writer
// never has a negative one. One that is damaged becomes 0.
func notNegative(word uint64) int64 { return max(0, int64(word)) }

// fill puts the counters into statistics. size is that of the capture file.
func (c *counters) fill(st *capture.Statistics, size int64) {
	st.DurationInSeconds = capture.Seconds(c.Elapsed)
	st.PacketsCaptured = c.Packets
	st.BytesCaptured = c.Bytes
	st.PacketsReceived = c.Received
	st.RingFreezes = c.Freezes
	st.PacketsDroppedByKernel = c.Dropped.ByKernel
	st.PacketsDroppedByInterface = c.Dropped.ByInterface
	st.PacketsNotWritten = c.Dropped.ByFile
	for i := range st.Interfaces {
		st.Interfaces[i].PacketsDroppedByInterface = c.links[st.Interfaces[i].Index]
	}
	if len(st.Files) > 0 {
		st.Files[0].SizeInBytes = size
	}
	if u := st.Upload; u != nil {
		u.BytesStaged, u.Retries = c.Upload.Staged, c.Upload.Retries
		u.BytesBehind = max(0, size-u.BytesStaged)
	}
}
