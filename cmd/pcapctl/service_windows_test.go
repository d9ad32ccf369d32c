package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows/svc"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// As a service a capture ends in good order when the service is stopped, and its exit code is that of the service.
func TestService(t *testing.T) {
	t.Setenv("PCAPCTL_CAPTURES_DIR", filepath.Join(t.TempDir(), "captures"))
	for _, test := range []struct {
		name string
		args []string
		stop svc.Cmd // 0: it ends by itself
		code uint32
		says string
	}{
		{"stopped", []string{"create", "--read-file", "-", "-n", "one"}, svc.Stop, 0, "ended (Manual): 1 of 1 packet"},
		{"shut down", []string{"create", "--read-file", "-", "-n", "two"}, svc.Shutdown, 0, "ended (Manual): 1 of 1 packet"},
		{"wrong", []string{"create", "--nonsense"}, 0, 2, "nonsense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = out.Close() }()
			var said bytes.Buffer
			begun := make(chan struct{})
			s := &service{app: &app{
				args: test.args, in: in, out: io.Discard, stops: make(chan os.Signal, 1),
				err: writerFunc(func(p []byte) (int, error) {
					if bytes.Contains(p, []byte("reading ")) {
						close(begun)
					}
					return said.Write(p)
				}),
			}}
			requests, statuses := make(chan svc.ChangeRequest), make(chan svc.Status, 100)
			type end struct {
				ofService bool
				code      uint32
			}
			ended := make(chan end, 1)
			go func() {
				ofService, code := s.Execute(nil, requests, statuses)
				ended <- end{ofService, code}
			}()
			if now := <-statuses; now.State != svc.Running || now.Accepts != svc.AcceptStop|svc.AcceptShutdown {
				t.Errorf("%+v", now)
			}
			if test.stop != 0 {
				if _, err := out.Write(pcaptest.Forms()[0].File([]pcaptest.Packet{{Data: make([]byte, 60)}}, pcapfile.Ethernet)); err != nil {
					t.Fatal(err)
				}
				<-begun
				requests <- svc.ChangeRequest{Cmd: svc.Interrogate}
				if now := <-statuses; now.State != svc.Running {
					t.Errorf("%+v", now)
				}
				requests <- svc.ChangeRequest{Cmd: test.stop}
				if now := <-statuses; now.State != svc.StopPending || now.WaitHint == 0 {
					t.Errorf("%+v", now)
				}
			}
			select {
			case got := <-ended:
				if got != (end{true, test.code}) {
					t.Errorf("%+v, want exit code %d", got, test.code)
				}
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			if !strings.Contains(said.String(), test.says) {
				t.Errorf("said %q, want %q", &said, test.says)
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
