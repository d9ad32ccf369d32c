package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/testnet"
)

// ssh is a shell server in the host's namespace, on its loopback; it gives a command that runs a program there.
func (h *host) ssh() func(command string) *exec.Cmd {
	h.t.Helper()
	testnet.NeedTools(h.t, "sshd", "ssh", "ssh-keygen")
	must(h.t, os.MkdirAll("/run/sshd", 0o755)) // sshd insists on it
	for _, key := range []string{"host", "user"} {
		must(h.t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", h.path(key)).Run())
	}
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort 2222\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
		h.path("host"), h.path("user.pub"))
	must(h.t, os.WriteFile(h.path("sshd_config"), []byte(config), 0o600))
	sshd, err := exec.LookPath("sshd")
	must(h.t, err)
	server := h.Command(sshd, "-D", "-e", "-f", h.path("sshd_config"))
	log, err := os.Create(h.path("sshd.log"))
	must(h.t, err)
	defer func() { _ = log.Close() }()
	server.Stderr = log
	must(h.t, server.Start())
	h.t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if text, err := os.ReadFile(h.path("sshd.log")); err == nil && h.t.Failed() {
			h.t.Logf("sshd: %s", text)
		}
	})
	until(h.t, "sshd to listen", func() bool {
		text, err := os.ReadFile(h.path("sshd.log"))
		return err == nil && strings.Contains(string(text), "listening")
	})
	return func(command string) *exec.Cmd {
		env := "PCAPCTL_CAPTURES_DIR=" + h.path("captures") + " PCAPCTL_STATE_DIR=" + h.path("state")
		return h.Command("ssh", "-F", "none", "-p", "2222", "-i", h.path("user"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "LogLevel=ERROR", "root@127.0.0.1", "env "+env+" "+command)
	}
}

// streamOf reads what a command writes, as a capture, and gives its packets.
func streamOf(t *testing.T, cmd *exec.Cmd) <-chan int {
	t.Helper()
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	packets := make(chan int, 1000)
	go func() {
		defer close(packets)
		r, err := pcapfile.NewReader(out)
		var p pcapfile.Packet
		for err == nil {
			if err = r.Next(&p); err == nil {
				packets <- len(p.Data)
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Log(err)
		}
	}()
	return packets
}

// Over ssh packets come as they are captured; when the connection dies the capture ends, in good order, and nothing of it
// is left running.
func TestStreamOverSSH(t *testing.T) {
	h := newHost(t)
	at := h.ssh()
	cmd := at(h.path("pcapctl") + " create -n live -i v1 --file-path - --result-file " + h.path("live.json"))
	packets := streamOf(t, cmd)
	until(t, "the capture to begin", func() bool {
		return strings.Contains(h.run("show-status", "live", "--query", "packetCaptureStatus").out, "Running")
	})
	h.send(20)
	for range 20 {
		if _, ok := <-packets; !ok {
			t.Fatal("the stream has ended")
		}
	}
	pid := h.pid("live")
	extcapBySSH(t, h, at)
	must(t, cmd.Process.Kill()) // the client, which says nothing any more
	_ = cmd.Wait()
	until(t, "the capture to end", func() bool { return unix.Kill(pid, 0) != nil })
	got := h.run("show", "live", "--query", "properties.[stopReason, provisioningState, statistics.packetsCaptured >= `20`] | [@]", "-o", "tsv").out
	if got != "ReaderLeft\tSucceeded\ttrue\n" && got != "Manual\tSucceeded\ttrue\n" { // sshd may send SIGHUP first
		t.Errorf("%q", got)
	}
	if text, err := os.ReadFile(h.path("live.json")); err != nil || !strings.Contains(string(text), `"stopReason"`) || !strings.Contains(string(text), `"seccomp": `) {
		t.Errorf("%s, %v", text, err)
	}
}

// extcapBySSH runs the script of docs/live.md, by which Wireshark captures on another machine.
func extcapBySSH(t *testing.T, h *host, at func(string) *exec.Cmd) {
	t.Helper()
	page, err := os.ReadFile("../../docs/live.md")
	must(t, err)
	_, script, ok := strings.Cut(string(page), "```sh\n#!/bin/sh\n")
	script, _, end := strings.Cut(script, "```")
	ssh := at("")
	words := ssh.Args[:len(ssh.Args)-1]
	if i := slices.Index(words, "ssh"); i >= 0 {
		words = words[i:]
	}
	const there = "ssh -o BatchMode=yes vm \"sudo pcapctl"
	if !ok || !end || strings.Count(script, there) != 1 {
		t.Fatalf("the script has changed: %s", script)
	}
	env := "env PCAPCTL_STATE_DIR=" + h.path("state") + " " + h.path("pcapctl")
	script = strings.Replace(script, there, strings.Join(words, " ")+" \""+env, 1)
	must(t, os.WriteFile(h.path("pcapctl-vm"), []byte("#!/bin/sh\n"+script), 0o755))
	run := func(args ...string) *exec.Cmd {
		cmd := h.Command(h.path("pcapctl-vm"), args...)
		return cmd
	}
	if out, err := run("--extcap-interfaces", "--extcap-version=4.0").CombinedOutput(); err != nil || !strings.Contains(string(out), "interface {value=pcapctl}") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := run("--extcap-interface", "pcapctl", "--extcap-capture-filter", "it's").CombinedOutput(); err != nil || !strings.Contains(string(out), "it's") {
		t.Errorf("%v: %s", err, out)
	}
	fifo := h.path("vm.fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	cmd := run("--capture", "--extcap-interface", "pcapctl", "--fifo", fifo, "--interface", "v1", "--packet-limit", "3", "--filter", "")
	var say strings.Builder
	cmd.Stderr = &say
	must(t, cmd.Start())
	in, err := os.Open(fifo)
	must(t, err)
	defer func() { _ = in.Close() }()
	ended := make(chan int)
	go func() {
		n := 0
		if r, err := pcapfile.NewReader(in); err == nil {
			for p := (pcapfile.Packet{}); r.Next(&p) == nil; n++ {
			}
		}
		ended <- n
	}()
	s, frame := h.Sender("v0"), udpFrame()
	until(t, "three packets", func() bool {
		s.Send(frame)
		select {
		case n := <-ended:
			if n != 3 {
				t.Errorf("%d packets", n)
			}
			return true
		default:
			return false
		}
	})
	if err := cmd.Wait(); err != nil || say.Len() > 0 {
		t.Errorf("%v: %s", err, say.String())
	}
}

// Who leaves at once has no result, and no empty file in its place.
func TestNoResultFileOfWhoLeaves(t *testing.T) {
	h := newHost(t)
	cmd := h.create("leaves", "--result-file", h.path("leaves.json"))
	must(t, cmd.Start())
	until(t, "the capture to begin", func() bool {
		return strings.Contains(h.run("show-status", "leaves", "--query", "packetCaptureStatus").out, "Running")
	})
	if _, err := os.Stat(h.path("leaves.json")); err != nil {
		t.Error(err)
	}
	must(t, cmd.Process.Signal(unix.SIGQUIT))
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 6 {
		t.Error(err)
	}
	if _, err := os.Stat(h.path("leaves.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// extcapFolder is where this tshark looks for external capture tools.
func extcapFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("tshark", "-G", "folders").Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		if name, path, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Extcap path") {
			return strings.TrimSpace(path)
		}
	}
	t.Skip("this tshark has no extcap folder")
	return ""
}

// tshark with a link to pcapctl in its extcap folder lists it, and captures by it.
func TestExtcapOfTshark(t *testing.T) {
	testnet.NeedTools(t, "tshark", "unshare", "mount")
	h := newHost(t)
	folder := extcapFolder(t)
	if _, err := os.Stat(folder); err != nil {
		t.Skip(err)
	}
	must(t, os.Mkdir(h.path("extcap"), 0o755))
	must(t, os.Symlink(h.path("pcapctl"), h.path("extcap/pcapctl")))
	// As root tshark looks at no other folder than its own.
	tshark := func(args ...string) *exec.Cmd {
		cmd := h.Command("unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" "$1"; shift; exec tshark "$@"`, h.path("extcap"), folder}, args...)...)
		cmd.Env = h.env
		return cmd
	}
	if out, err := tshark("-D").CombinedOutput(); err != nil || !strings.Contains(string(out), "pcapctl (pcapctl)") {
		t.Fatalf("%v: %s", err, out)
	}
	s, frame := h.Sender("v0"), udpFrame()
	for _, test := range []struct {
		name string
		args []string
		want int
		say  string
	}{
		{"ten packets", []string{"-c", "10"}, 10, ""},
		{"an interface, a filter and a limit", []string{"-o", "extcap.pcapctl.interface:v1", "-o", "extcap.pcapctl.packetlimit:7", "-f", "protocol=UDP"}, 7, ""},
		{"headers, less what is left out, up to an event", []string{
			"-o", "extcap.pcapctl.headersonly:true", "-o", "extcap.pcapctl.exclude:protocol=TCP", "-o", "extcap.pcapctl.stopwhen:protocol=UDP", "-o", "extcap.pcapctl.packetlimit:3",
			"-T", "fields", "-e", "frame.cap_len",
		}, 3, ""},
		{"no such interface", []string{"-o", "extcap.pcapctl.interface:nosuch"}, 0, "there is no interface"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := tshark(append([]string{"-n", "-i", "pcapctl"}, test.args...)...)
			var out, say strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &say
			must(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var err error
			until(t, "tshark to end", func() bool {
				s.Send(frame)
				select {
				case err = <-ended:
					return true
				default:
					return false
				}
			})
			if n := strings.Count(out.String(), "\n"); n != test.want || (err != nil) != (test.say != "") && test.say == "" || !strings.Contains(say.String(), test.say) {
				t.Errorf("%v: %d packets of %d\n%s", err, n, test.want, say.String())
			}
			if slices.Contains(test.args, "frame.cap_len") && out.String() != strings.Repeat("42\n", test.want) {
				t.Errorf("not cut to the headers: %q", out.String())
			}
			if test.say == "" && strings.Contains(say.String(), "Error") {
				t.Errorf("%s", say.String())
			}
		})
	}
}

// udpFrame is a frame with an empty UDP packet from 10.0.0.1 to 10.0.0.2.
func udpFrame() []byte {
	frame := make([]byte, 60)
	copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00"+
		"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"+
		"\x10\x00\x20\x00\x00\x08\x00\x00")
	return frame
}

// What Wireshark asks for without capturing, and what stands in the place of its FIFO.
func TestExtcapCalls(t *testing.T) {
	h := newHost(t)
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--extcap-interfaces", "--extcap-version=4.0"}, []string{"extcap {version=", "interface {value=pcapctl}"}},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-dlts"}, []string{"dlt {number=1}{name=EN10MB}"}},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-config"}, []string{"arg {number=0}{call=--interface}", "{call=--packet-limit}", "value {arg=0}{value=v1}{display=v1 (up)}", "value {arg=0}{value=any}"}},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-config", "--extcap-reload-option", "interface"}, []string{"value {arg=0}{value=v1}"}},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-capture-filter", "protocol=TCP,localPort=80"}, nil},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-capture-filter", "tcp port 80"}, []string{"not of the form member=value"}},
		{[]string{"--extcap-interface", "pcapctl", "--extcap-capture-filter", "protocol=TCQ"}, []string{"TCQ"}},
	} {
		got := h.run(test.args...)
		if got.code != 0 || got.err != "" || (test.want == nil) != (got.out == "") {
			t.Errorf("%q: %+v", test.args, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got.out, want) {
				t.Errorf("%q: no %q in %s", test.args, want, got.out)
			}
		}
	}
	file, fifo := h.path("file"), h.path("fifo")
	must(t, os.WriteFile(file, []byte("kept"), 0o600))
	must(t, unix.Mkfifo(fifo, 0o600))
	must(t, os.Symlink(fifo, h.path("link")))
	must(t, os.Symlink(file, h.path("filelink")))
	must(t, unix.Mkfifo(h.path("theirs"), 0o666))
	must(t, os.Chown(h.path("theirs"), 1000, 1000))
	reader, err := os.OpenFile(h.path("theirs"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	must(t, err)
	defer func() { _ = reader.Close() }()
	for path, code := range map[string]int{file: 2, h.path("link"): 3, h.path("filelink"): 3, h.path("theirs"): 3, h.path("none"): 4, h.dir: 3} {
		got := h.run("--capture", "--extcap-interface", "pcapctl", "--fifo", path, "--interface", "v1", "--filter", "")
		if got.code != code || got.err == "" || strings.Contains(got.err, "{") {
			t.Errorf("%s: %+v, want %d", filepath.Base(path), got, code)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "kept" {
		t.Errorf("%q", text)
	}
	if got := h.run("--capture", "--extcap-interface", "eth9", "--fifo", fifo); got.code != 4 {
		t.Errorf("%+v", got)
	}
	if got := h.run("extcap"); got.code != 2 || !strings.Contains(got.err, "called by Wireshark") {
		t.Errorf("%+v", got)
	}
}
