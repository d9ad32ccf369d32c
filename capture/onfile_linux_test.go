package capture_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
)

// logged runs a session with a command that notes what it is told, and gives
// its lines. A session that is to end by its context is stopped after during.
func (r *rig) logged(o capture.Options, p *capture.Plan, stop bool, during func()) ([]string, *capture.Result, error) {
	r.t.Helper()
	log := filepath.Join(r.t.TempDir(), "log")
	o.OnFile.Command = fmt.Sprintf(`test "$(stat -c %%s "$PCAPCTL_FILE")" = "$PCAPCTL_SIZE" && `+
		`tcpdump -nr "$PCAPCTL_FILE" -w /dev/null 2>&1 && echo "$(basename $PCAPCTL_FILE) $PCAPCTL_SEQUENCE $PCAPCTL_PACKETS $PCAPCTL_SESSION $PCAPCTL_FORMAT [$PCAPCTL_STOP_REASON]$SECRET" >>%s`, log)
	session := r.startWith(p, o)
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		during()
		if stop {
			cancel()
		}
	}()
	res, err := session.Run(ctx)
	text, _ := os.ReadFile(log)
	return strings.Split(strings.TrimSpace(string(text)), "\n"), res, err
}

// The command is run for every finished file on every way out, with the facts
// and without what is secret.
func TestOnFileOnEveryWayOut(t *testing.T) {
	t.Setenv("SECRET", "hidden")
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	send := func(n int) func() {
		return func() {
			s := r.Sender("v0")
			for range n {
				s.Send(f)
			}
		}
	}
	for _, test := range []struct {
		name, properties string
		during           func()
		reason           capture.StopReason
		prepare          func(*rig)
	}{
		{"manual", ``, send(5), capture.Manual, nil},
		{"time", `,"timeLimitInSeconds":1`, send(5), capture.TimeExceeded, nil},
		{"size", `,"totalBytesPerSession":5400`, send(9), capture.SizeExceeded, nil},
		{"disk full", ``, send(3000), capture.FileFailed, func(r *rig) { r.smallDisk("1m") }},
		{"interface gone", ``, func() { send(5)(); r.IP("link", "del", "v0") }, capture.InterfaceRemoved, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: t.TempDir()}
			if test.prepare != nil {
				test.prepare(r)
			}
			p := r.plan(test.properties, "v1")
			lines, res, _ := r.logged(capture.Options{MinFree: new(int64)}, p, test.reason == capture.Manual, test.during)
			want := fmt.Sprintf("%s 1 %d %s pcap [%s]", filepath.Base(res.Files[0].Path), res.Packets, p.Config.Name, test.reason)
			if len(lines) != 1 || lines[0] != want || res.StopReason != test.reason || res.Warnings != nil {
				t.Errorf("got %q, want %q; %v", lines, want, res.Warnings)
			}
		})
	}
}

func TestOnFileOfARotation(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	p := r.plan(`,"continuousCapture":true,"captureSettings":{"fileCount":2,"fileSizeInBytes":102400}`, "v1")
	lines, res, err := r.logged(capture.Options{}, p, true, func() {
		s := r.Sender("v0")
		for range 1000 {
			s.Send(f)
		}
	})
	if err != nil || res.Warnings != nil {
		t.Fatalf("%v, %v", err, res.Warnings)
	}
	var packets uint64
	for i, line := range lines {
		var name, session, format, reason string
		var sequence int
		var n uint64
		if _, err := fmt.Sscan(line, &name, &sequence, &n, &session, &format, &reason); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := "[]"
		if i == len(lines)-1 {
			want = "[Manual]"
		}
		if sequence != i+1 || reason != want || session != p.Config.Name {
			t.Errorf("line %d: %s", i, line)
		}
		packets += n
	}
	if len(lines) < 9 || packets != res.Packets || res.Packets+res.Dropped.ByKernel != 1000 {
		t.Errorf("%d files of %d packets, %+v", len(lines), packets, res)
	}
}

// A command that fails, hangs or leaves somebody behind is told, and ends
// nothing.
func TestOnFileThatFails(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct{ command, says string }{
		{"echo no such luck >&2; exit 3", "exit status 3: no such luck"},
		{"/does/not/exist", "not found"},
		{"sleep 60 & sleep 60", "not done after 300ms and killed"},
		{"yes | head -c 100000000; exit 1", "exit status 1: y"},
		{"kill -9 $$", "signal: killed"},
		{"true", ""},
	} {
		timeout := 300 * time.Millisecond
		if strings.Contains(test.command, "yes") {
			timeout = 10 * time.Second
		}
		session := r.startWith(r.plan(`,"timeLimitInSeconds":1`, "v1"), capture.Options{OnFile: save.OnFile{Command: test.command, Timeout: timeout}})
		res, err := session.Run(t.Context())
		got := strings.Join(res.Warnings, "; ")
		if err != nil || test.says == "" && got != "" || !strings.Contains(got, test.says) || len(got) > 512+500 {
			t.Errorf("%s: %v, %q", test.command, err, got)
		}
		if test.says != "" && !strings.Contains(got, res.Files[0].Path) {
			t.Errorf("%s: %q does not name the file", test.command, got)
		}
		if res.Elapsed > 3*time.Second {
			t.Errorf("%s: took %v", test.command, res.Elapsed)
		}
	}
	// One that leaves somebody behind who holds its output is not waited for.
	from := time.Now()
	o := save.OnFile{Command: "sleep 5 &"}
	if got := o.Run(t.Context(), &save.Finished{File: save.File{Path: t.TempDir() + "/x"}, Config: &request.Config{}}); got != "" || time.Since(from) > 4*time.Second {
		t.Errorf("%q after %v", got, time.Since(from))
	}
}

// A command is seen while it runs, and can be broken off once the capture has
// ended; the capture stays complete.
func TestOnFileCanBeBrokenOff(t *testing.T) {
	r := newRig(t)
	session := r.startWith(r.plan(`,"timeLimitInSeconds":1`, "v1"), capture.Options{OnFile: save.OnFile{Command: "sleep 60"}})
	if session.AbandonCommand() {
		t.Error("there is a command to break off before the capture has ended")
	}
	go func() {
		<-session.Ended()
		for session.Command() == nil {
			time.Sleep(time.Millisecond)
		}
		if c := session.Command(); c.Limit != save.DefaultOnFileTimeout || !strings.HasSuffix(c.File, ".cap") {
			t.Errorf("%+v", c)
		}
		if !session.AbandonCommand() {
			t.Error("there is no command to break off")
		}
	}()
	from := time.Now()
	res, err := session.Run(t.Context())
	if got := strings.Join(res.Warnings, "; "); err != nil || !strings.Contains(got, "broken off, as it was asked for") || time.Since(from) > 30*time.Second {
		t.Errorf("%v, %q after %v", err, got, time.Since(from))
	}
	if session.Command() != nil {
		t.Error("the command is still there")
	}
}
