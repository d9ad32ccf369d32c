package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/capture/testnet"
	"pcapctl/storage"
)

// onDisk is the sum of the sizes of the files in a folder.
func onDisk(t *testing.T, dir string) (sum int64, names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // else it has left the rotation meanwhile
			sum += info.Size()
			names = append(names, e.Name())
		}
	}
	return sum, names
}

// numbersOf reads the numbers in the packets of a file.
func numbersOf(t *testing.T, path string, payload int) (numbers []uint32) {
	t.Helper()
	for _, p := range readBack(t, path) {
		numbers = append(numbers, binary.BigEndian.Uint32(p.Data[len(p.Data)-payload:]))
	}
	return numbers
}

// keeper keeps a link to every file that was in the rotation, and so what was in
// it.
type keeper struct {
	t    *testing.T
	dir  string
	seen atomic.Int64
}

func (k *keeper) Progress(capture.Progress)               {}
func (k *keeper) Interfaces(time.Duration, []source.Link) {}
func (k *keeper) Upload(deliver.Progress)                 {}
func (k *keeper) File(f save.File) {
	if f.Complete {
		return
	}
	k.seen.Add(1)
	if err := os.Link(f.Path, filepath.Join(k.dir, filepath.Base(f.Path))); err != nil {
		k.t.Error(err)
	}
}

// A rotation under a flood: every packet that was not counted as dropped is in
// exactly one file, in order, over many rotations; the rotation is never larger
// than it may be; other programs read every file. PCAPCTL_TEST_LONG makes it
// minutes, and more than 200 rotations.
func TestRotationUnderFlood(t *testing.T) {
	const count, payload = 5, 1000
	packets, size, pause := 10_000, int64(400_000), time.Duration(0)
	if os.Getenv("PCAPCTL_TEST_LONG") != "" { // some minutes, and some gigabytes of what the keeper keeps
		packets, size, pause = 2_500_000, 10_000_000, time.Millisecond
	}
	r := newRig(t)
	k := &keeper{t: t, dir: t.TempDir()}
	p := r.plan(fmt.Sprintf(`,"continuousCapture":true,"captureSettings":{"fileCount":%d,"fileSizeInBytes":%d}`, count, size), "v1")
	session := r.startWith(p, capture.Options{Watcher: k})
	ctx, cancel := context.WithCancel(t.Context())
	var most int64
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for ctx.Err() == nil {
			sum, names := onDisk(t, r.dir)
			most = max(most, sum)
			if len(names) > count {
				t.Errorf("%d files: %v", len(names), names)
			}
			time.Sleep(200 * time.Microsecond)
		}
	}()
	go func() {
		defer cancel()
		s := r.Sender("v0")
		f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, payload, 1)
		for i := range uint32(packets) {
			binary.BigEndian.PutUint32(f[len(f)-payload:], i)
			s.Send(f)
			if i%20 == 0 && pause > 0 {
				time.Sleep(pause)
			}
		}
	}()
	res, err := session.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-sampled
	if most > count*size {
		t.Errorf("%d bytes on the disk, allowed %d", most, count*size)
	}
	_, left := onDisk(t, r.dir)
	if len(left) != count || len(res.Files) != count {
		t.Errorf("left %v, the result has %v", left, res.Files)
	}
	_, all := onDisk(t, k.dir)
	if int64(len(all)) != k.seen.Load() || !slices.Equal(all[len(all)-count:], left) {
		t.Fatalf("%d files, %d begun", len(all), k.seen.Load())
	}
	for i, f := range res.Files {
		if f.Path != filepath.Join(r.dir, left[i]) || f.Sequence != len(all)-count+i+1 {
			t.Errorf("file %d of the result: %+v", i, f)
		}
	}
	last, n, kept := int64(-1), 0, uint64(0)
	for i, name := range all {
		path := filepath.Join(k.dir, name)
		st, err := os.Stat(path)
		if err != nil || st.Size() > size || i < len(all)-1 && size-st.Size() > int64(payload+100) {
			t.Errorf("%s: %d bytes, %v", name, st.Size(), err)
		}
		numbers := numbersOf(t, path, payload)
		for _, number := range numbers {
			if int64(number) <= last {
				t.Fatalf("%s: packet %d after %d", name, number, last)
			}
			last = int64(number)
		}
		n += len(numbers)
		if i >= len(all)-count {
			kept += uint64(len(numbers))
			f := res.Files[i-len(all)+count]
			if *capture.FileResultOf(f).Packets != uint64(len(numbers)) || f.Size != st.Size() {
				t.Errorf("%s has %d packets in %d bytes, the result says %+v", name, len(numbers), st.Size(), f)
			}
		}
	}
	if uint64(n)+res.Dropped.ByKernel != uint64(packets) || res.Packets != uint64(n) {
		t.Errorf("sent %d, %d in files, %+v", packets, n, res)
	}
	t.Logf("%d rotations, %d packets, %d dropped, %d left in files, at most %d bytes on the disk, in %v", len(all)-1, n, res.Dropped.ByKernel, kept, most, res.Elapsed)
}

// A rotation of one file, files of the least size, and packets that have no room in
// a file.
func TestSmallRotations(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		settings string
		count    int
	}{
		{`{"fileCount":1,"fileSizeInBytes":102400}`, 1},
		{`{"fileCount":2,"fileSizeInBytes":102400}`, 2},
		{`{"fileSizeInBytes":102400}`, 10},
	} {
		r := &rig{NS: r.NS, t: t, dir: t.TempDir()}
		f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
		res := r.capture(r.plan(`,"continuousCapture":true,"captureSettings":`+test.settings, "v1"), func() {
			s := r.Sender("v0")
			for i := range uint32(3000) {
				binary.BigEndian.PutUint32(f[len(f)-1000:], i)
				s.Send(f)
			}
		})
		sum, names := onDisk(t, r.dir)
		if len(names) != test.count || sum > int64(test.count)*102400 || res.Packets+res.Dropped.ByKernel != 3000 {
			t.Errorf("%s: %d files of %d bytes, %+v", test.settings, len(names), sum, res)
		}
		next := uint32(3000)
		for _, name := range slices.Backward(names) {
			numbers := numbersOf(t, filepath.Join(r.dir, name), 1000)
			for _, n := range slices.Backward(numbers) {
				if n >= next {
					t.Fatalf("%s: %d before %d", name, n, next)
				}
				next = n
			}
		}
	}
}

// A session leaves the files of others alone: those of an earlier one, a file
// that took the place of its own, and one that has the name of its next.
func TestRotationLeavesOthersAlone(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	first := r.plan(`,"continuousCapture":true,"captureSettings":{"fileCount":2,"fileSizeInBytes":102400}`, "v1")
	s := r.Sender("v0")
	flood := func() {
		for range 1000 {
			s.Send(f)
		}
	}
	r.capture(first, flood)
	_, before := onDisk(t, r.dir)
	p := capture.NewPlan(first.Config, first.Source) // of the same name, a moment later
	res := r.capture(p, func() {
		_, path := p.File()
		if err := os.Rename(path, path+".mine"); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, []byte("foreign"), 0o600); err != nil {
			t.Error(err)
		}
		flood()
	})
	_, path := p.File()
	if text, err := os.ReadFile(path); err != nil || string(text) != "foreign" {
		t.Errorf("what took the place of a file: %q, %v", text, err)
	}
	_, after := onDisk(t, r.dir)
	for _, name := range before {
		if !slices.Contains(after, name) {
			t.Errorf("%s of the earlier session is gone", name)
		}
	}
	told := strings.Join(res.Warnings, "\n")
	if len(res.Warnings) != 2 || !strings.Contains(told, storage.ErrReplaced.Error()) || !strings.Contains(told, "was renamed while it was being written: it is "+path+".mine now") {
		t.Errorf("warnings %v", res.Warnings)
	}

	// The next name is taken: the capture ends there and overwrites nothing.
	p = capture.NewPlan(first.Config, first.Source)
	_, path = p.File()
	taken := request.RotatedPath(path, 3)
	if err := os.WriteFile(taken, []byte("taken"), 0o600); err != nil {
		t.Fatal(err)
	}
	session := r.start(p)
	go flood()
	res, err := session.Run(t.Context())
	if fault.ClassOf(err) != fault.LocalFile || res.StopReason != capture.FileFailed || len(res.Files) != 2 {
		t.Errorf("%v: %+v", err, res)
	}
	if res.Received != res.Packets+res.Dropped.ByFile && res.Dropped.ByFile == 0 {
		t.Errorf("%+v", res)
	}
	for _, file := range res.Files {
		readBack(t, file.Path)
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "taken" {
		t.Errorf("%q, %v", text, err)
	}
}

// False is one file of the size that was asked for.
func TestContinuousWithoutRotation(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	session := r.start(r.plan(`,"continuousCapture":false,"captureSettings":{"fileCount":3,"fileSizeInBytes":102400}`, "v1"))
	res, err := r.runUnderTraffic(session, always(f))
	if err != nil || res.StopReason != capture.SizeExceeded {
		t.Fatalf("%v: %+v", err, res)
	}
	if sum, names := onDisk(t, r.dir); len(names) != 1 || sum > 102400 || sum < 102400-1100 {
		t.Errorf("%v of %d bytes", names, sum)
	}
	readBack(t, res.Files[0].Path)

	session = r.start(r.plan(`,"continuousCapture":true,"captureSettings":{"sessionTimeLimitInSeconds":1}`, "v1"))
	if res, err = session.Run(t.Context()); err != nil || res.StopReason != capture.TimeExceeded || len(res.Files) != 1 {
		t.Errorf("%v: %+v", err, res)
	}
}

// A rotation of pcapng files: each has its interfaces and its statistics.
func TestRotationOfPcapng(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	r := newRig(t)
	r.output = request.Output{Format: request.FormatPcapng}
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	res := r.capture(r.plan(`,"continuousCapture":true,"captureSettings":{"fileCount":3,"fileSizeInBytes":102400}`, "any"), func() {
		s := r.Sender("v0")
		for range 200 {
			s.Send(f)
		}
		r.Veth("late0", "late1")
		late := r.Sender("late0")
		for range 200 {
			late.Send(f)
		}
	})
	var last uint64
	for _, file := range res.Files {
		check(t, file.Path)
		counts := isb(t, file.Path)
		if file.Size > 102400 || len(counts) < 3 {
			t.Errorf("%s: %d bytes, %+v", file.Path, file.Size, counts)
		}
		var sum uint64
		for _, c := range counts {
			sum += c.delivered
		}
		if sum != file.Before+file.Packets || sum <= last {
			t.Errorf("%s: statistics of %d packets, %+v", file.Path, sum, file)
		}
		last = sum
		if n := len(tshark(t, file.Path, "-T", "fields", "-e", "frame.interface_name")); uint64(n) != file.Packets {
			t.Errorf("%s: %d packets, %+v", file.Path, n, file)
		}
	}
	if last != res.Packets {
		t.Errorf("%d packets in the last statistics, %d in the result", last, res.Packets)
	}
}

// smallDisk mounts a small file system on the captures folder.
func (r *rig) smallDisk(size string) {
	r.t.Helper()
	if err := syscall.Mount("none", r.dir, "tmpfs", 0, "size="+size); err != nil {
		r.t.Fatal("mount a small tmpfs: ", err)
	}
	r.t.Cleanup(func() { _ = syscall.Unmount(r.dir, 0) })
}

// The reserve of a disk ends a capture cleanly before it is full, whoever
// fills it, in either mode.
func TestMinFree(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	const reserve = 4 << 20
	for _, properties := range []string{``, `,"continuousCapture":true,"captureSettings":{"fileCount":100,"fileSizeInBytes":1000000}`} {
		r := &rig{NS: r.NS, t: t, dir: t.TempDir()}
		r.smallDisk("16m")
		session := r.startWith(r.plan(properties, "v1"), capture.Options{MinFree: new(int64(reserve))})
		res, err := r.runUnderTraffic(session, always(f))
		if err != nil || res.StopReason != capture.MinFreeReached || res.Dropped.ByFile != 0 {
			t.Fatalf("%v: %+v", err, res)
		}
		// Never less, and hardly more.
		free, _, _ := storage.Space(r.dir)
		if free < reserve || free > reserve+100<<10 {
			t.Errorf("%d bytes are free, %d are to stay", free, reserve)
		}
		if res.Received != res.Packets+res.Dropped.Total()+res.AfterLimit {
			t.Errorf("received %d: %+v", res.Received, res)
		}
		var n int
		for _, file := range res.Files {
			n += len(readBack(t, file.Path))
		}
		if uint64(n) != res.Packets || n < 8000 {
			t.Errorf("%d packets in files, %d in the result", n, res.Packets)
		}
		// There is no room to begin with.
		r.Do(func() {
			p := r.plan(properties, "v1")
			if _, err := capture.Start(p, capture.Options{MinFree: new(int64(reserve))}); fault.ClassOf(err) != fault.LocalFile || !strings.Contains(err.Error(), "min-free") {
				t.Errorf("%v", err)
			}
			if _, path := p.File(); exists(path) {
				t.Error("a file was left behind")
			}
		})
	}
	// A small disk has no reserve of its own: it is filled, and that is told.
	full := &rig{NS: r.NS, t: t, dir: t.TempDir()}
	full.smallDisk("16m")
	small := full.start(full.plan("", "v1"))
	if res, err := r.runUnderTraffic(small, always(f)); fault.ClassOf(err) != fault.LocalFile || res.StopReason != capture.FileFailed {
		t.Errorf("%v: %+v", err, res)
	}
	// The reserve of a large one is nobody's wish.
	var byDefault, asked save.Reserve
	folder, err := storage.OpenFolder(os.TempDir(), filepath.Join(os.TempDir(), "x.cap"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	if err := errors.Join(byDefault.Open(folder, nil), asked.Open(folder, new(int64(save.MinMinFree)))); err != nil {
		t.Fatal(err)
	}
	if fault.ClassOf(byDefault.Failure()) != fault.LocalFile || asked.Failure() != nil {
		t.Error("a reserve that was asked for is a limit, the default is not")
	}
	// Somebody else fills the disk, and no packet comes.
	r.dir = t.TempDir()
	r.smallDisk("16m")
	session := r.startWith(r.plan("", "v1"), capture.Options{MinFree: new(int64(reserve))})
	go func() { _ = os.WriteFile(filepath.Join(r.dir, "other"), make([]byte, 14<<20), 0o600) }()
	if res, err := session.Run(t.Context()); err != nil || res.StopReason != capture.MinFreeReached {
		t.Errorf("%v: %+v", err, res)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
