package tpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Ring is an open AF_PACKET socket with its ring. One goroutine runs the
// packet loop; only Wake, Stats, SetFilter, AddPromiscuous and Rebind may be called from
// others.
type Ring struct {
	fd     int
	wake   int // eventfd that ends a Wait
	opts   Options
	mem    []byte
	cur    int // the block that comes next
	block  Block
	held   bool // block cur is ours and not released yet
	detach bool
	drops  drops

	// mu guards the descriptors during Close against the methods that are safe for
	// concurrent use, and what follows.
	mu      sync.Mutex
	started bool
	shut    bool // no filter but the last one from here on
	stats   Stats
}

// Privileged says whether this process has the capability to open packet
// sockets; the error wraps fs.ErrPermission when it has not. It opens nothing:
// the kernel takes some 10 ms to close a packet socket again (packet_release
// waits for every processor). Open has the last word, as the capability may be
// one of another user namespace than the network's.
func Privileged() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // version 3 has two words of 32 capabilities
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_RAW) == 0 {
		return os.NewSyscallError("open a packet socket", unix.EPERM)
	}
	return nil
}

// socket opens a packet socket that receives nothing: with protocol 0 the
// kernel hooks it into no receive path until it is bound. packet(7).
func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("open a packet socket: socket", err)
	}
	return fd, nil
}

// Open makes the socket, attaches the filter and maps the ring. No packet is
// received before Start.
func Open(o Options) (_ *Ring, err error) {
	if len(o.Filter) == 0 || o.Blocks < 2 || o.BlockSize <= 0 || o.BlockSize%os.Getpagesize() != 0 {
		return nil, fmt.Errorf("ring: %d blocks of %d bytes with a filter of %d instructions make no ring",
			o.Blocks, o.BlockSize, len(o.Filter))
	}
	r := &Ring{fd: -1, wake: -1, opts: o}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	if r.fd, err = socket(); err != nil {
		return nil, err
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	// The filter comes first: a ring that is bound and has no filter would
	// take in everything, and what is in it once is recorded.
	err = r.attach(o.Filter)
	if err == nil && o.Replaceable {
		err = r.attach(o.Filter)
	}
	switch {
	case errors.Is(err, unix.ENOMEM):
		return nil, fmt.Errorf("%w (%d instructions): %w", ErrFilterTooLarge, len(o.Filter), err)
	case err != nil:
		return nil, fmt.Errorf("attach the filter (%d instructions): %w", len(o.Filter), err)
	}
	if err := r.mapRing(); err != nil {
		return nil, err
	}
	for _, index := range o.Promiscuous {
		if err := r.promiscuous(index); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// AddPromiscuous adds an interface to Options.Promiscuous. Safe for concurrent use;
// after Detach it does nothing.
func (r *Ring) AddPromiscuous(index int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 || r.shut {
		return nil
	}
	return r.promiscuous(index)
}

func (r *Ring) promiscuous(index int) error {
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	return os.NewSyscallError("set promiscuous mode: setsockopt PACKET_ADD_MEMBERSHIP",
		unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq))
}

// Rebind binds a ring whose interface was removed to another one. What is in the
// ring stays there. While both interfaces exist, packets of neither would be
// captured for a moment. Safe for concurrent use; after Detach it does nothing.
func (r *Ring) Rebind(index int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 || r.shut {
		return nil
	}
	r.opts.Interface = index
	if !r.started {
		return nil
	}
	return r.bind(unix.ETH_P_ALL)
}

// SetFilter replaces the filter. The kernel does it at once for every packet
// that comes after (SO_ATTACH_FILTER, socket(7)): each is decided by the old filter or the new one.
// After Detach it does nothing. Safe for concurrent use.
func (r *Ring) SetFilter(filter []bpf.RawInstruction) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 || r.shut {
		return nil
	}
	return r.attach(filter)
}

func (r *Ring) attach(filter []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
	runtime.KeepAlive(prog)
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

func (r *Ring) mapRing() error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("setsockopt PACKET_VERSION", err)
	}
	// Version 3 packs packets of any size into a block; the frame size only has
	// to be aligned and to divide the block.
	const frame = 2048
	req := unix.TpacketReq3{
		Block_size:     uint32(r.opts.BlockSize),
		Block_nr:       uint32(r.opts.Blocks),
		Frame_size:     frame,
		Frame_nr:       uint32(r.opts.BlockSize / frame * r.opts.Blocks),
		Retire_blk_tov: uint32(max(1, r.opts.Retire.Milliseconds())),
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("allocate a packet ring of %d bytes: %w", r.opts.Blocks*r.opts.BlockSize,
			os.NewSyscallError("setsockopt PACKET_RX_RING", err))
	}
	mem, err := unix.Mmap(r.fd, 0, r.opts.Blocks*r.opts.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the packet ring: %w", os.NewSyscallError("mmap", err))
	}
	r.mem = mem
	r.drops.before = make([]uint64, r.opts.Blocks)
	return nil
}

// Start binds the socket. When it returns, packets are being captured.
func (r *Ring) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
	return r.bind(unix.ETH_P_ALL)
}

func (r *Ring) bind(protocol uint16) error {
	// The protocol is in network order. packet(7).
	addr := unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: r.opts.Interface}
	return os.NewSyscallError("bind", unix.Bind(r.fd, &addr))
}

func (r *Ring) blockMem(i int) []byte {
	return r.mem[i*r.opts.BlockSize : (i+1)*r.opts.BlockSize : (i+1)*r.opts.BlockSize]
}

// status is the word by which a block changes its owner. The atomic load orders
// it before the loads of what the block holds, as the kernel's barriers do on
// the other side.
func (r *Ring) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.blockMem(i)[offBlockStatus])) //nolint:gosec // G103: the ABI is shared memory
}

// Next gives the next block that the kernel has handed over, nil when there is
// none. The block before it is released. After Detach it also gives the block
// that the kernel was still filling, and then nil for good.
func (r *Ring) Next() (*Block, error) {
	r.Release()
	status := atomic.LoadUint32(r.status(r.cur))
	if status&statusUser == 0 && !r.detach {
		return nil, nil
	}
	if err := r.block.open(r.blockMem(r.cur), status); err != nil {
		return nil, err
	}
	if status&statusUser == 0 && r.block.left == 0 {
		return nil, nil
	}
	r.held = true
	r.block.dropped = r.drops.before[r.cur]
	r.drops.told += r.block.dropped
	r.drops.before[r.cur] = 0
	return &r.block, nil
}

// drops are where the packets that the kernel dropped are missing. It drops in one case only: the block that it wants to
// fill next is not released (net/packet/af_packet.c, prb_dispatch_next_block, "queue freeze"). So the packets of one block have no
// gap between them, and what is dropped while the kernel waits for a block is missing before the first packet that it will
// put there. Between the releases of two blocks it waits for the second of them, or for none.
type drops struct {
	before []uint64 // by block: packets missing before what the kernel fills it with next
	placed uint64   // sum of all that were ever in before
	told   uint64   // of these, those that were given with a block
}

// place finds what was dropped while the kernel waited for the block cur, which has just been released. Only when every
// other block is full it can have waited. The count is exact unless the process was held up between the release and this
// for so long that the kernel has filled the whole block and waits for the next one: what is dropped by then is told one
// block too early.
func (r *Ring) place() {
	last := (r.cur + r.opts.Blocks - 1) % r.opts.Blocks
	if atomic.LoadUint32(r.status(last))&statusUser == 0 {
		return
	}
	st, err := r.Stats()
	if err != nil || st.Dropped <= r.drops.placed {
		return
	}
	r.drops.before[r.cur] += st.Dropped - r.drops.placed
	r.drops.placed = st.Dropped
}

// Tail is how many packets were dropped behind the last that Next has given, after Detach.
func (r *Ring) Tail() uint64 {
	st, _ := r.Stats()
	return st.Dropped - r.drops.told
}

// Release gives the block last got from Next back to the kernel.
func (r *Ring) Release() {
	if !r.held {
		return
	}
	r.held = false
	// The kernel sets the count when it opens the block, which may be much
	// later if the ring had been full. Until then it must not look as if the
	// packets were there a second time: see Next after Detach.
	m := r.blockMem(r.cur)
	clear(m[offNumPackets : offNumPackets+4])
	atomic.StoreUint32(r.status(r.cur), 0)
	r.place()
	r.cur = (r.cur + 1) % r.opts.Blocks
}

// Wait returns when a block is ready, when Wake was called, or after d; a d
// below zero waits without end. It may also return early, as any wait that a
// signal can interrupt, so that the caller looks at the clock itself. It returns ErrInterfaceDown when the interface
// went down in the meantime.
func (r *Ring) Wait(d time.Duration) error {
	fds := [2]unix.PollFd{
		{Fd: int32(r.fd), Events: unix.POLLIN},
		{Fd: int32(r.wake), Events: unix.POLLIN},
	}
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(d.Nanoseconds())
		timeout = &ts
	}
	if _, err := unix.Ppoll(fds[:], timeout, nil); err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil
		}
		return os.NewSyscallError("ppoll", err)
	}
	if fds[1].Revents != 0 {
		var word [8]byte
		_, _ = unix.Read(r.wake, word[:])
	}
	if fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) == 0 {
		return nil
	}
	// Reading SO_ERROR takes the error off the socket, so that the next Wait
	// waits again.
	code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt SO_ERROR", err)
	case code == 0:
		return nil
	case unix.Errno(code) == unix.ENETDOWN:
		return ErrInterfaceDown
	default:
		return os.NewSyscallError("packet socket", unix.Errno(code))
	}
}

// Wake ends a Wait, the one that is under way or else the next one. Safe for
// concurrent use.
func (r *Ring) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = unix.Write(r.wake, binary.NativeEndian.AppendUint64(nil, 1))
}

// Detach ends the capture: when it returns, no further packet comes into the
// ring, none is half written, and Next gives all that are in it, those in the
// open block as well, without waiting for the retire timer.
func (r *Ring) Detach() error {
	if r.detach {
		return nil
	}
	// Two steps. The filter refuses every packet from now on. Binding to
	// another protocol takes the socket out of the receive path and waits until
	// every processor has left it (packet_do_bind, synchronize_net), so that
	// nobody is writing into the open block any more. 0xFFFF is reserved as an
	// EtherType; should a frame carry it, the filter is still there.
	//
	// Each of them by itself ends the capture, if the other one fails.
	r.mu.Lock()
	r.shut = true
	refused := r.attach([]bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}})
	r.mu.Unlock()
	unbound := r.bind(0xffff)
	gone := errors.Is(unbound, unix.ENODEV) || errors.Is(unbound, unix.ENETDOWN) || errors.Is(unbound, unix.ENXIO)
	switch {
	case unbound == nil, gone && refused == nil:
		r.detach = true
	case refused == nil:
		// Somebody may be writing into the open block still. The kernel's timer closes
		// it, and then Next gives it as any other.
		time.Sleep(2 * r.opts.Retire)
	default:
		return fmt.Errorf("detach from the interface: %w", errors.Join(refused, unbound))
	}
	return nil
}

// Stats counts since Start. The kernel forgets its counters when they are
// read (packet(7), PACKET_STATISTICS); they are added up here. After Close they
// are the last that were read. Safe for concurrent use.
func (r *Ring) Stats() (Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return r.stats, nil
	}
	st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return r.stats, os.NewSyscallError("getsockopt PACKET_STATISTICS", err)
	}
	r.stats.Received += uint64(st.Packets)
	r.stats.Dropped += uint64(st.Drops)
	r.stats.Freezes += uint64(st.Freeze_q_cnt)
	return r.stats, nil
}

// Close frees the ring. Blocks and packets got from it are gone.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if r.mem != nil {
		errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(r.mem)))
		r.mem = nil
	}
	for _, fd := range []*int{&r.fd, &r.wake} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}
