package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sender is this program once more, in the namespace: bounded in time, and
// on a link that ends in the namespace.
const (
	senderWord = "send-packets"
	numberAt   = 42 // of the number in a packet, behind the UDP header
	batch      = 64
)

func senderArgs(s scenario, seconds float64) []string {
	sizes := make([]string, len(s.sizes))
	for i, n := range s.sizes {
		sizes[i] = strconv.Itoa(n)
	}
	return []string{
		senderWord, strings.Join(sizes, ","), strconv.Itoa(s.rate), strconv.Itoa(s.every),
		strconv.FormatFloat(seconds, 'f', -1, 64),
	}
}

func runSender(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%s sizes rate every seconds", senderWord)
	}
	var sizes []int
	for text := range strings.SplitSeq(args[0], ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < numberAt+4 || n > 9000 {
			return fmt.Errorf("size %q", text)
		}
		sizes = append(sizes, n)
	}
	rate, err1 := strconv.Atoi(args[1])
	every, err2 := strconv.Atoi(args[2])
	seconds, err3 := strconv.ParseFloat(args[3], 64)
	if err1 != nil || err2 != nil || err3 != nil || seconds > 3600 {
		return fmt.Errorf("%s sizes rate every seconds", senderWord)
	}
	s, err := newSender(sizes, every)
	if err != nil {
		return err
	}
	took, err := s.send(rate, time.Duration(seconds*float64(time.Second)))
	_, _ = fmt.Fprintln(os.Stdout, s.sent, s.wanted, took.Nanoseconds()) //nolint:forbidigo // its result
	return err
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

type sender struct {
	fd           int
	frames       [batch][]byte
	iov          [batch]unix.Iovec
	msgs         [batch]mmsghdr
	sizes        []int
	every        int
	sent, wanted int
}

func newSender(sizes []int, every int) (*sender, error) {
	s := &sender{sizes: sizes, every: every}
	var err error
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		return nil, err
	}
	ifr, err := unix.NewIfreq("v0")
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return nil, err
	}
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())}); err != nil {
		return nil, err
	}
	// Straight to the driver: the queue would be the limit otherwise.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return nil, err
	}
	for i := range s.frames {
		f := make([]byte, 9000)
		copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00")
		copy(f[22:], "\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
		s.frames[i] = f
		s.iov[i].Base = &f[0]
		s.msgs[i].hdr.Iov = &s.iov[i]
		s.msgs[i].hdr.SetIovlen(1)
	}
	return s, nil
}

// send sends for d, at rate packets a second or as fast as it can.
func (s *sender) send(rate int, d time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		took := time.Since(began)
		if took >= d {
			return took, nil
		}
		n := batch
		if rate > 0 {
			behind := int(took.Seconds()*float64(rate)) - s.sent // packets
			if behind < 16 {
				if rate <= 50_000 {
					time.Sleep(100 * time.Microsecond)
				} // else shorter than the kernel's timers can wait: spin
				continue
			}
			n = min(n, behind)
		}
		if err := s.sendBatch(n); err != nil {
			return took, err
		}
	}
}

func (s *sender) sendBatch(n int) error {
	b := binary.BigEndian
	for i := range n {
		number := s.sent + i
		f, size := s.frames[i], s.sizes[number%len(s.sizes)]
		port := wantedPort
		if s.every > 0 && number%s.every != 0 {
			port++
		}
		b.PutUint16(f[16:], uint16(size-14))
		b.PutUint16(f[34:], 1000)
		b.PutUint16(f[36:], uint16(port))
		b.PutUint16(f[38:], uint16(size-34))
		b.PutUint32(f[numberAt:], uint32(number))
		s.iov[i].SetLen(size)
	}
	for at := 0; at < n; {
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[at])), uintptr(n-at), 0, 0, 0) //nolint:gosec // G103: there is no wrapper
		switch errno {
		case 0:
			at += int(done)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR:
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	for i := range n {
		if s.every == 0 || (s.sent+i)%s.every == 0 {
			s.wanted++
		}
	}
	s.sent += n
	return nil
}
