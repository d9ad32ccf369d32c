package npcap

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/windows"
)

// The functions of wpcap.dll that are called, and no others: that a library exports a
// function proves little, as some of Wine's end the process when they are called.
const (
	fnLibVersion = iota
	fnFindAllDevs
	fnFreeAllDevs
	fnCreate
	fnSetSnapLen
	fnSetPromisc
	fnSetTimeout
	fnSetBufferSize
	fnSetTstampType
	fnSetTstampPrecision
	fnGetTstampPrecision
	fnActivate
	fnDatalink
	fnSetFilter
	fnNextEx
	fnBreakLoop
	fnSetNonBlock
	fnStats
	fnGetErr
	fnClose
	functions // how many there are
)

var functionNames = [functions]string{
	fnLibVersion:         "pcap_lib_version",
	fnFindAllDevs:        "pcap_findalldevs",
	fnFreeAllDevs:        "pcap_freealldevs",
	fnCreate:             "pcap_create",
	fnSetSnapLen:         "pcap_set_snaplen",
	fnSetPromisc:         "pcap_set_promisc",
	fnSetTimeout:         "pcap_set_timeout",
	fnSetBufferSize:      "pcap_set_buffer_size",
	fnSetTstampType:      "pcap_set_tstamp_type",
	fnSetTstampPrecision: "pcap_set_tstamp_precision",
	fnGetTstampPrecision: "pcap_get_tstamp_precision",
	fnActivate:           "pcap_activate",
	fnDatalink:           "pcap_datalink",
	fnSetFilter:          "pcap_setfilter",
	fnNextEx:             "pcap_next_ex",
	fnBreakLoop:          "pcap_breakloop",
	fnSetNonBlock:        "pcap_setnonblock",
	fnStats:              "pcap_stats",
	fnGetErr:             "pcap_geterr",
	fnClose:              "pcap_close",
}

// Values of libpcap's pcap.h.
const (
	errorBreak         = -2
	errorNoDevice      = -5
	errorPermission    = -8
	tstampHostHiPrec   = 2 // the system's clock, to 100 ns
	precisionNano      = 1
	maximumSnapLen     = 262144
	errorBufferLen     = 256
	maxDevices         = 4096
	maxText            = 1024
	accessDeniedSuffix = "(5)" // ERROR_ACCESS_DENIED, behind the text in the user's language
)

// library is wpcap.dll.
type library struct {
	path  string
	procs [functions]uintptr
	text  string // pcap_lib_version
	npcap bool   // and not one that stands for it, as Wine's
}

// load is called at the first capture.
var load = sync.OnceValues(func() (driver, error) {
	l, err := loadLibrary()
	if err != nil {
		return nil, err
	}
	return l, nil
})

// loadLibrary loads by whole paths only: another wpcap.dll, in the working folder or
// on PATH, is not to be had. Neither is another Packet.dll: what wpcap.dll needs is looked
// for beside it and in the system folder (LOAD_LIBRARY_SEARCH_…).
func loadLibrary() (*library, error) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return nil, fmt.Errorf("find the system folder: %w", err)
	}
	paths := []string{filepath.Join(system, "Npcap", "wpcap.dll"), filepath.Join(system, "wpcap.dll")}
	for _, path := range paths {
		l, err := loadFrom(path)
		if errors.Is(err, windows.ERROR_MOD_NOT_FOUND) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return l, err
	}
	return nil, fmt.Errorf("%w: there is neither %s nor %s", errMissing, paths[0], paths[1])
}

// loadFrom loads one file, and looks all functions up.
func loadFrom(path string) (*library, error) {
	handle, err := windows.LoadLibraryEx(path, 0, windows.LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR|windows.LOAD_LIBRARY_SEARCH_SYSTEM32)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	l := &library{path: path}
	for n, name := range functionNames {
		if l.procs[n], err = windows.GetProcAddress(handle, name); err != nil {
			return nil, fmt.Errorf("%s lacks the function %s: it is %w", path, name, errOld)
		}
	}
	l.text = text((*byte)(l.pointer(fnLibVersion)))
	if l.npcap, err = checkVersion(l.text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// call calls a function that returns an int.
//
//go:uintptrescapes
func (l *library) call(function int, args ...uintptr) int {
	r, _, _ := syscall.SyscallN(l.procs[function], args...)
	return int(int32(r))
}

// pointer calls a function that returns a pointer into the library's memory.
//
//go:uintptrescapes
func (l *library) pointer(function int, args ...uintptr) unsafe.Pointer {
	r, _, _ := syscall.SyscallN(l.procs[function], args...)
	return *(*unsafe.Pointer)(unsafe.Pointer(&r))
}

// text is a C string.
func text(p *byte) string {
	if p == nil {
		return ""
	}
	var b []byte
	for at := unsafe.Pointer(p); len(b) < maxText && *(*byte)(at) != 0; at = unsafe.Add(at, 1) {
		b = append(b, *(*byte)(at))
	}
	return strings.ToValidUTF8(string(b), "?")
}

func (l *library) version() string { return l.text }

// deviceList is struct pcap_if.
type deviceList struct {
	next        *deviceList
	name        *byte
	description *byte
	addresses   uintptr
	flags       uint32
}

func (l *library) devices() ([]string, error) {
	var list *deviceList
	var problem [errorBufferLen]byte
	if l.call(fnFindAllDevs, uintptr(unsafe.Pointer(&list)), uintptr(unsafe.Pointer(&problem))) != 0 {
		return nil, denied(text(&problem[0]), errors.New(explained(text(&problem[0]))))
	}
	var names []string
	for d := list; d != nil && len(names) < maxDevices; d = d.next {
		names = append(names, text(d.name))
	}
	if list != nil {
		l.call(fnFreeAllDevs, uintptr(unsafe.Pointer(list)))
	}
	return names, nil
}

// denied makes errDenied of an error whose text says that Windows refused it: the driver of an Npcap for administrators only.
func denied(text string, err error) error {
	if strings.HasSuffix(strings.TrimSpace(text), accessDeniedSuffix) {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return err
}

// explained is the text of an error, which some errors have none of.
func explained(text string) string {
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	return "no reason is given"
}

// openAdapter is a pcap_t.
type openAdapter struct {
	l      *library
	pcap   uintptr
	link   int
	nano   bool // times have nanoseconds
	synced bool
	// Where pcap_next_ex writes to.
	header *packetHeader
	data   *byte
	counts packetStats // where pcap_stats does
	base   uint32      // drops before the filter, where the count is not set to zero
}

// packetHeader is struct pcap_pkthdr; a long has 32 bits on Windows.
type packetHeader struct {
	sec, fraction, caplen, length uint32
}

// packetStats is struct pcap_stat on Windows, and room for more members.
type packetStats struct {
	received, dropped uint32
	others            [14]uint32
}

// filterProgram is struct bpf_program.
type filterProgram struct {
	length       uint32
	instructions *bpf.RawInstruction // the same layout as struct bpf_insn
}

func (l *library) open(device string, o openOptions) (_ handle, err error) {
	name, err := windows.BytePtrFromString(device)
	if err != nil {
		return nil, err
	}
	var problem [errorBufferLen]byte
	h := &openAdapter{l: l, pcap: uintptr(l.pointer(fnCreate, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&problem))))}
	if h.pcap == 0 {
		return nil, fmt.Errorf("open %s: %s", device, explained(text(&problem[0])))
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	promiscuous := uintptr(0)
	if o.promiscuous {
		promiscuous = 1
	}
	for _, set := range []struct {
		function int
		value    uintptr
	}{
		{fnSetSnapLen, uintptr(min(o.snapLen, maximumSnapLen))},
		{fnSetPromisc, promiscuous},
		{fnSetTimeout, uintptr(o.wait / time.Millisecond)},
		{fnSetBufferSize, uintptr(o.buffer)},
	} {
		if status := l.call(set.function, h.pcap, set.value); status != 0 {
			return nil, fmt.Errorf("open %s: %s: %s (%d)", device, functionNames[set.function], h.problem(), status)
		}
	}
	// Neither is there everywhere: before Npcap 1.83 times have microseconds.
	h.synced = l.call(fnSetTstampType, h.pcap, tstampHostHiPrec) == 0 || !l.npcap
	l.call(fnSetTstampPrecision, h.pcap, precisionNano)
	if status := l.call(fnActivate, h.pcap); status < 0 { // above zero are warnings
		return nil, h.activateError(device, status)
	}
	h.nano = l.call(fnGetTstampPrecision, h.pcap) == precisionNano
	h.link = l.call(fnDatalink, h.pcap)
	if err := h.setFilter([]bpf.RawInstruction{{Op: 0x06}}); err != nil { // ret #0
		return nil, err
	}
	return h, nil
}

func (h *openAdapter) activateError(device string, status int) error {
	problem := h.problem()
	err := fmt.Errorf("open %s: %s (%d)", device, problem, status)
	switch status {
	case errorPermission:
		return fmt.Errorf("%w: %w", errDenied, err)
	case errorNoDevice:
		return fmt.Errorf("%w: %w", errNoDevice, err)
	}
	return denied(problem, err)
}

// problem is the library's text of the last error.
func (h *openAdapter) problem() string {
	return explained(text((*byte)(h.l.pointer(fnGetErr, h.pcap))))
}

func (h *openAdapter) linkType() int { return h.link }
func (h *openAdapter) clock() bool   { return h.synced }

// setFilter has the driver take what the program takes. Npcap empties its buffer with
// it and counts from zero; Wine's library goes on counting.
func (h *openAdapter) setFilter(program []bpf.RawInstruction) error {
	if !h.l.npcap {
		h.base = 0
		if dropped, err := h.dropped(); err == nil {
			h.base = dropped
		}
	}
	p := filterProgram{uint32(len(program)), &program[0]}
	if status := h.l.call(fnSetFilter, h.pcap, uintptr(unsafe.Pointer(&p))); status != 0 {
		return fmt.Errorf("set the filter of %d instructions: %s (%d)", len(program), h.problem(), status)
	}
	return nil
}

func (h *openAdapter) next(p *rawPacket) (outcome, error) {
	r, _, _ := syscall.SyscallN(h.l.procs[fnNextEx], h.pcap, uintptr(unsafe.Pointer(&h.header)), uintptr(unsafe.Pointer(&h.data)))
	switch int32(r) {
	case 1:
		p.sec, p.nsec = h.header.sec, h.header.fraction
		if !h.nano {
			p.nsec *= 1000
		}
		p.nsec = min(p.nsec, 1e9-1)
		p.length = int(max(h.header.length, h.header.caplen))
		p.data = unsafe.Slice(h.data, min(h.header.caplen, maximumSnapLen))
		return taken, nil
	case 0:
		return idle, nil
	case errorBreak:
		return woken, nil
	}
	return failed, errors.New(h.problem())
}

func (h *openAdapter) wake() { h.l.call(fnBreakLoop, h.pcap) }

func (h *openAdapter) nonblocking() error {
	var problem [errorBufferLen]byte
	if h.l.call(fnSetNonBlock, h.pcap, 1, uintptr(unsafe.Pointer(&problem))) != 0 {
		return fmt.Errorf("read without waiting: %s", explained(text(&problem[0])))
	}
	return nil
}

func (h *openAdapter) dropped() (uint32, error) {
	r, _, _ := syscall.SyscallN(h.l.procs[fnStats], h.pcap, uintptr(unsafe.Pointer(&h.counts)))
	if status := int32(r); status != 0 {
		return 0, fmt.Errorf("read the counters: %s (%d)", h.problem(), status)
	}
	return h.counts.dropped - h.base, nil
}

func (h *openAdapter) close() {
	if h.pcap != 0 {
		h.l.call(fnClose, h.pcap)
		h.pcap = 0
	}
}
