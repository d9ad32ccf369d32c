package azblob

import (
	"net"
	"strings"
	"testing"
)

// What the system says of a connection is put into the same words on all of them.
func TestRefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
		t.Skip("another program has taken the port")
	}
	if e := explainNetwork(err); !strings.Contains(e.Message, "was refused") {
		t.Errorf("%v: %s", err, e.Message)
	}
}

func TestCutConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = there.(*net.TCPConn).SetLinger(0) // a reset
	_ = there.Close()
	_, err = c.Read(make([]byte, 1))
	if e := explainNetwork(err); !strings.Contains(e.Message, "was cut") {
		t.Errorf("%v: %s", err, e.Message)
	}
}
