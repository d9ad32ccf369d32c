package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/save"
)

// goesAway is something that happens to a file, or to its folder, while it is being written.
type goesAway struct {
	name   string
	happen func(dir, path string) error
	says   string
	goesOn bool // a capture of one file goes on
	ring   bool // a ring goes on
	kept   bool // what was captured can be read in the end
}

func waysToGo() []goesAway {
	return []goesAway{
		{"renamed", func(_, path string) error { return os.Rename(path, path+".1") }, "was renamed", true, true, true},
		{"removed", func(_, path string) error { return os.Remove(path) }, "was removed", false, true, true},
		{"replaced", func(_, path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("other"), 0o600))
		}, "was removed", false, true, true},
		{"folder renamed", func(dir, _ string) error { return os.Rename(dir, dir+".1") }, "the folder of", true, true, true},
		{"folder renamed, another in its place", func(dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+".1"), os.Mkdir(dir, 0o700))
		}, "the folder of", true, true, true},
		{"folder removed", func(dir, _ string) error { return os.RemoveAll(dir) }, "the folder of", false, false, false},
		{"unmounted", func(dir, _ string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }, "was unmounted", false, false, false},
		{"mounted over", func(dir, _ string) error { return syscall.Mount("none", dir, "tmpfs", 0, "size=16m") }, "another file system was mounted over", false, false, false},
	}
}

// displacedRig is a rig whose captures folder is a small disk of its own where that can be unmounted, and whose session
// tells on a channel what goes wrong.
func displacedRig(t *testing.T, way *goesAway) (*rig, chan string) {
	r := newRig(t)
	r.dir = filepath.Join(r.dir, "captures")
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(way.name, "mount") {
		if err := syscall.Mount("none", r.dir, "tmpfs", 0, "size=64m"); err != nil {
			t.Fatal("mount a small tmpfs: ", err)
		}
		t.Cleanup(func() {
			for syscall.Unmount(r.dir, syscall.MNT_DETACH) == nil {
				continue
			}
		})
	}
	return r, make(chan string, 100)
}

// completed is a watcher that tells of the first file that is complete.
type completed struct {
	slow
	once sync.Once
	done chan struct{}
}

func (*completed) Progress(capture.Progress) {}

func (c *completed) File(f save.File) {
	if f.Complete {
		c.once.Do(func() { close(c.done) })
	}
}

// A file, or its folder, that goes away during a capture is told while the capture runs, by what happened to it; the result
// names where it is, or that it is lost, and is exit 7. Nothing is made where the folder was.
func TestFileGoesAwayDuringACapture(t *testing.T) {
	for _, way := range waysToGo() {
		t.Run(way.name, func(t *testing.T) {
			r, told := displacedRig(t, &way)
			f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
			p := r.plan("", "v1")
			session := r.startWith(p, capture.Options{MinFree: new(int64), Tell: func(text string) { told <- text }})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sent, ended := uint32(0), make(chan struct{})
			s := r.Sender("v0")
			send := func() {
				for range 200 {
					binary.BigEndian.PutUint32(f[len(f)-1000:], sent)
					s.Send(f)
					sent++
				}
			}
			go func() {
				defer cancel()
				send()
				if err := way.happen(r.dir, p.Config.FilePath); err != nil {
					t.Error(err)
				}
				from := time.Now()
				if text := <-told; !strings.Contains(text, way.says) || !strings.Contains(text, p.Config.FilePath) || way.goesOn == strings.Contains(text, "the capture ends") {
					t.Errorf("told: %s", text)
				}
				t.Logf("told after %v", time.Since(from))
				if way.goesOn {
					send()
					return
				}
				<-ended // by itself
			}()
			res, err := session.Run(ctx)
			close(ended)
			if fault.ClassOf(err) != fault.LocalFile || !strings.Contains(err.Error(), way.says) || (res.StopReason == capture.Manual) != way.goesOn {
				t.Errorf("%v: %s", err, res.StopReason)
			}
			if res.Packets+res.Dropped.Total() != res.Received || res.Received != uint64(sent) {
				t.Errorf("sent %d: %+v", sent, res)
			}
			if !way.kept {
				if len(res.Files) != 0 || way.name != "mounted over" && (res.Packets != 0 || res.Dropped.ByFile == 0) {
					t.Errorf("%+v", res)
				}
				if left, _ := os.ReadDir(r.dir); len(left) != 0 {
					t.Errorf("made where the folder was: %v", left)
				}
				return
			}
			if got := readBack(t, res.Files[0].Path); uint64(len(got)) != res.Packets || res.Packets == 0 || !strings.Contains(err.Error(), res.Files[0].Path) {
				t.Errorf("%d packets in %s: %v", len(got), res.Files[0].Path, err)
			}
		})
	}
}

// A ring goes on when one of its files goes away, and in a folder that was renamed, and tells both; it ends when nobody
// could reach its next files. It never makes its folder anew.
func TestRingWhoseFileGoesAway(t *testing.T) {
	for _, way := range waysToGo() {
		t.Run(way.name, func(t *testing.T) {
			r, told := displacedRig(t, &way)
			f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
			p := r.plan(`,"continuousCapture":true,"captureSettings":{"fileCount":3,"fileSizeInBytes":1000000}`, "v1")
			first := &completed{done: make(chan struct{})}
			session := r.startWith(p, capture.Options{MinFree: new(int64), Tell: func(text string) { told <- text }, Watcher: first})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan struct{})
			s := r.Sender("v0")
			go func() {
				defer cancel()
				for range 1500 { // into the second file
					s.Send(f)
				}
				<-first.done
				list, _ := os.ReadDir(r.dir) // the second is written, and not full
				path := filepath.Join(r.dir, list[1].Name())
				if err := way.happen(r.dir, path); err != nil {
					t.Error(err)
				}
				if text := <-told; !strings.Contains(text, way.says) {
					t.Errorf("told: %s", text)
				}
				if !way.ring {
					<-ended
					return
				}
				for range 1000 { // into the third
					s.Send(f)
				}
			}()
			res, err := session.Run(ctx)
			close(ended)
			if fault.ClassOf(err) != fault.LocalFile || !strings.Contains(err.Error(), way.says) && way.ring {
				t.Errorf("%v: %s", err, res.StopReason)
			}
			if way.ring != (res.StopReason == capture.Manual) {
				t.Errorf("%s", res.StopReason)
			}
			var n uint64
			for _, file := range res.Files {
				n += uint64(len(readBack(t, file.Path)))
			}
			if way.kept && (n != res.Packets || len(res.Files) != 3) {
				t.Errorf("%d packets in %+v", n, res)
			}
			if !way.kept {
				if left, _ := os.ReadDir(r.dir); len(res.Files) != 0 || len(left) != 0 {
					t.Errorf("made where the folder was: %v; %+v", left, res.Files)
				}
			}
		})
	}
}

// A capture goes on when its guard is killed, and says so at once and in the end; a guard that is stopped holds up neither
// the files of a ring nor the end.
func TestGuardIsLostDuringACapture(t *testing.T) {
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	for _, test := range []struct {
		name, properties, says string
		signal                 syscall.Signal
	}{
		{"killed, one file", "", "was killed", syscall.SIGKILL},
		{"killed, a ring", `,"continuousCapture":true,"captureSettings":{"fileCount":3,"fileSizeInBytes":102400}`, "was killed", syscall.SIGKILL},
		{"stopped, one file", "", "did not answer", syscall.SIGSTOP},
		{"stopped, a ring", `,"continuousCapture":true,"captureSettings":{"fileCount":3,"fileSizeInBytes":102400}`, "did not answer", syscall.SIGSTOP},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			before := guardsOf(t)
			told := make(chan string, 100)
			session := r.startWith(r.plan(test.properties, "v1"), capture.Options{MinFree: new(int64), Tell: func(text string) { told <- text }})
			for pid := range guardsOf(t) {
				if !before[pid] {
					if err := syscall.Kill(pid, test.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			s := r.Sender("v0")
			go func() {
				defer cancel()
				for range 1000 { // ten files of a ring
					s.Send(f)
				}
				if test.signal == syscall.SIGKILL {
					<-told
				}
			}()
			from := time.Now()
			res, err := session.Run(ctx)
			t.Logf("ended after %v", time.Since(from))
			warned := strings.Join(res.Warnings, "\n")
			if err != nil || strings.Count(warned, test.says) != 1 || !strings.Contains(warned, "may leave its last packet cut") || len(res.Warnings) != 1 {
				t.Errorf("%v: %s", err, warned)
			}
			if res.Packets != 1000 || res.Dropped.Total() != 0 {
				t.Errorf("%+v", res)
			}
			for pid := range guardsOf(t) {
				t.Errorf("guard %d is left", pid)
			}
		})
	}
}

// guardsOf are the guards that are children of this process.
func guardsOf(t *testing.T) map[int]bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	pids := map[int]bool{}
	for _, dir := range all {
		name, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		status, _ := os.ReadFile(filepath.Join(dir, "status"))
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && strings.TrimRight(string(name), "\x00") == "pcap-guard" &&
			strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			pids[pid] = true
		}
	}
	return pids
}
