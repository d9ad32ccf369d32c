package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A server that sends more than it was asked for has net/http say so on the standard
// logger, with its bytes. They are shown with --debug alone, and never as they are.
func TestUnsolicitedAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				for {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n\x1b[31mTHE SERVER'S\x9b31m BYTES")
				}
			}()
		}
	}()
	program, err := exec.LookPath("pcapctl")
	must(t, err)
	file := filepath.Join(t.TempDir(), "x.cap")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, debug := range []bool{false, true} {
		args := []string{"upload", file, "--storage-path", "http://" + l.Addr().String() + "/pcstore/captures/x.cap"}
		if debug {
			args = append(args, "--debug")
		}
		cmd := exec.Command(program, args...)
		cmd.Env = append(environ(), "PCAPCTL_STATE_DIR="+t.TempDir(), "PCAPCTL_BLOB_ENDPOINT=http://"+l.Addr().String()+"/pcstore",
			"AZURE_STORAGE_KEY=a2V5", "XDG_CONFIG_HOME="+t.TempDir())
		o := runCmd(t, cmd)
		said := strings.Contains(o.err, "a library says: ") && strings.Contains(o.err, "THE SERVER'S")
		if o.code != 3 || said != debug || strings.ContainsAny(o.err, "\x1b\u009b") || strings.Contains(o.err, "\x9b") || strings.Contains(o.out, "SERVER") {
			t.Errorf("debug %v: %d %q %q", debug, o.code, o.out, o.err)
		}
	}
}
