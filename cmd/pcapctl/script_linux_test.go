package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// send is the program `send DEV COUNT SIZE [PORT [PAUSE]]`: numbered UDP
// datagrams in frames of SIZE bytes from 10.0.0.1:PORT to 10.0.0.2:9, with a
// pause after each. It exists only for the scripts.
func send() {
	if err := sendFrames(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "send:", err)
		os.Exit(1)
	}
}

func sendFrames(args []string) error {
	var pause time.Duration
	numbers := []int{0, 0, 1000}
	if len(args) > 4 {
		var err error
		if pause, err = time.ParseDuration(args[4]); err != nil {
			return err
		}
		args = args[:4]
	}
	for i, a := range args[1:] {
		n, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	count, size, port := numbers[0], numbers[1], numbers[2]
	frame := make([]byte, max(size, 46))
	copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00")
	b := binary.BigEndian
	b.PutUint16(frame[16:], uint16(len(frame)-14))
	copy(frame[22:], "\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02") // ttl, UDP, addresses
	b.PutUint16(frame[34:], uint16(port))
	b.PutUint16(frame[36:], 9)
	b.PutUint16(frame[38:], uint16(len(frame)-34))

	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq(args[0])
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())}
	for i := range count {
		b.PutUint32(frame[42:], uint32(i))
		if err := unix.Sendto(fd, frame, 0, to); err != nil && err != unix.ENOBUFS {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}
