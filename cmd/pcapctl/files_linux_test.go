package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"pcapctl/capture"
)

// Whoever may write to the folder of a capture puts a link in the place of its file as soon as that is there, and again
// and again. What is sent is the file that was made, and nothing of what the link leads to.
func TestSwappedFileIsNotSent(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte("only for root\n"), 100_000) // more than is captured
	for _, test := range []struct {
		name, dir string
		args      []string
	}{
		{"a file and its blob", "captures", []string{"--file-path", "captures/x.cap"}},
		{"a blob only, by a spool", "state/.spool", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newBlobRig(t)
			hidden := r.path("secret")
			must(t, os.WriteFile(hidden, secret, 0o600))
			must(t, os.MkdirAll(r.path(test.dir), 0o700))
			args := []string{"--storage-path", r.url("captures/x.cap")}
			if test.args != nil {
				args = append(args, "--file-path", r.path("captures/x.cap"))
			}
			var swaps atomic.Int64
			var swapper sync.WaitGroup
			done := make(chan struct{})
			swapper.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					list, _ := filepath.Glob(r.path(test.dir) + "/*.cap")
					for _, path := range list {
						if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && os.Rename(path, path+".mine") == nil && os.Symlink(hidden, path) == nil {
							swaps.Add(1)
						}
					}
				}
			})
			run := r.capture(args...)
			r.send(500)
			r.captured()
			run.waitFor("was renamed while it was being written")
			run.signal(syscall.SIGTERM)
			run.wait(7)
			close(done)
			swapper.Wait()
			sent := r.blob("captures/x.cap")
			r.packets(sent, 500)
			if content, err := os.ReadFile(sent); err != nil || bytes.Contains(content, secret[:14]) || swaps.Load() == 0 {
				t.Errorf("%d swaps; sent %d bytes, with what the link leads to: %v", swaps.Load(), len(content), bytes.Contains(content, secret[:14]))
			}
			if got, err := os.ReadFile(hidden); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// A process that is stopped over its time limit finds packets in its ring that came after it, and one sum of all that were
// dropped meanwhile. Every packet that was sent is in one category: in the file, dropped, dropped around the limit, or
// after it; and what is told as dropped before the limit was.
func TestHeldUpOverTheTimeLimit(t *testing.T) {
	const limit = 3 * time.Second
	for _, test := range []struct {
		name, ring    string
		before, after int // packets sent before and after the limit, while the process is stopped
	}{
		{"room for all", "64MiB", 3000, 5000},
		{"no room for what came before", "1MiB", 20_000, 5000},
		{"no room for what came after", "1MiB", 1000, 20_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			cmd := h.create("held", "--time-limit", limit.String(), "--buffer-size", test.ring, "-o", "json", "--promiscuous=false")
			r, w, err := os.Pipe()
			must(t, err)
			cmd.ExtraFiles = []*os.File{w}
			cmd.Args = append(cmd.Args, "--ready-fd", "3")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			must(t, cmd.Start())
			must(t, w.Close())
			_, err = io.ReadAll(r)
			must(t, errors.Join(err, r.Close()))
			begun := time.Now()
			s := h.Sender("v0")
			sent := 0
			send := func(n int) {
				for range n {
					s.Send(numbered(sent))
					sent++
				}
			}
			send(100)
			time.Sleep(time.Second) // of the limit: the time is what this is about
			must(t, cmd.Process.Signal(syscall.SIGSTOP))
			send(test.before)
			if time.Since(begun) > limit-200*time.Millisecond {
				t.Skip("the machine is too busy to send in time")
			}
			inTime := sent
			time.Sleep(time.Until(begun.Add(limit + 500*time.Millisecond)))
			send(test.after)
			must(t, cmd.Process.Signal(syscall.SIGCONT))
			must(t, cmd.Wait())
			var res capture.Resource
			must(t, json.Unmarshal(out.Bytes(), &res))
			st := res.Properties.Statistics
			kept := inFile(t, st.Files[0].Path)
			dropped := uint64(inTime) - kept // before the limit, in truth
			t.Logf("sent %d in time and %d later; %s", inTime, sent-inTime, out.String()[strings.Index(out.String(), `"packetsCaptured"`):])
			if res.Properties.StopReason != capture.TimeExceeded || kept != st.PacketsCaptured || kept > uint64(inTime) {
				t.Errorf("%d in the file: %s", kept, out.String())
			}
			if all := kept + st.PacketsDroppedByKernel + st.PacketsDroppedAroundLimit + st.PacketsAfterLimit; all != uint64(sent) {
				t.Errorf("sent %d, %d in a category", sent, all)
			}
			if st.PacketsDroppedByKernel > dropped || dropped > st.PacketsDroppedByKernel+st.PacketsDroppedAroundLimit {
				t.Errorf("%d were dropped before the limit: told %d, and %d around it", dropped, st.PacketsDroppedByKernel, st.PacketsDroppedAroundLimit)
			}
			if test.ring == "64MiB" && (dropped != 0 || st.PacketsAfterLimit != uint64(test.after) || st.Warnings != nil) {
				t.Errorf("%+v", st)
			}
			if told := strings.Contains(fmt.Sprint(st.Warnings), "held up over its limit"); told != (st.PacketsDroppedAroundLimit > 0) {
				t.Errorf("warnings %v", st.Warnings)
			}
		})
	}
}

// inFile is how many packets a file has.
func inFile(t *testing.T, path string) (n uint64) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	r, err := pcapgo.NewReader(f)
	must(t, err)
	for {
		if _, _, err := r.ReadPacketData(); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
}
