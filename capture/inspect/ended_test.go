package inspect_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/inspect"
)

// TestEndedEarly: a report of a part never says that nothing is missing, as text or as a page, and
// tells all of the reason.
func TestEndedEarly(t *testing.T) {
	s := newScene(t)
	s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100).bytes(byServer, 100).close()
	whole := s.file()
	for name, test := range map[string]struct {
		file []byte
		id   string
	}{
		"whole":                {whole, ""},
		"cut in a packet":      {whole[:len(whole)-3], "damaged"},
		"cut in the first one": {whole[:30], "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := inspect.Open([]string{"-"}, struct{ io.Reader }{bytes.NewReader(test.file)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			r, err := c.Inspect(t.Context(), inspect.Options{})
			if (err != nil) != (test.id != "") {
				t.Fatal(err)
			}
			var page strings.Builder
			if err := r.HTML(&page); err != nil {
				t.Fatal(err)
			}
			text := strings.Join(r.Text(inspect.Style{Width: 500}), "\n")
			for what, told := range map[string]string{"text": text, "page": page.String()} {
				if complete := strings.Contains(strings.ToLower(told), "nothing shows that packets are missing"); complete != (test.id == "") {
					t.Errorf("%s says that the capture is complete: %t:\n%s", what, complete, told)
				}
			}
			if test.id != "" && (len(r.Quality) == 0 || r.Quality[0].ID != test.id || !strings.Contains(text, r.Input.Error)) {
				t.Errorf("%+v\n%s\nwant %q", r.Quality, text, r.Input.Error)
			}
		})
	}
}

// TestLossesOfTheDisk: a larger buffer is no remedy for packets that could not be written.
func TestLossesOfTheDisk(t *testing.T) {
	s := newScene(t)
	s.conn(clientIP, 4000, serverIP, 80).handshake().close()
	for lost, want := range map[inspect.Losses][2]string{
		{ByKernel: 5}:            {"5 packets not captured: 5 lost by the system that captured, 0 by its interfaces", "buffer"},
		{ByFile: 39}:             {"39 packets not captured: 39 lost by the system that captured (39 of them could not be written to the file), 0 by its interfaces", "disk"},
		{ByKernel: 1, ByFile: 2}: {"3 packets not captured: 3 lost by the system that captured (2 of them could not be written to the file), 0 by its interfaces", "disk"},
	} {
		r := reportOf(t, s.file(), inspect.Options{Lost: lost})
		if f := r.Quality[0]; f.Title != want[0] || !strings.Contains(f.Next, want[1]) {
			t.Errorf("%+v: %q, %q", lost, f.Title, f.Next)
		}
	}
}

// TestWhoToWhom: of a service, the text tells the clients from the server.
func TestWhoToWhom(t *testing.T) {
	s := newScene(t)
	for _, client := range []string{clientIP, "10.0.0.7"} {
		c := s.conn(client, 4000, serverIP, 5432)
		for range 3 {
			c.raw(byClient, c.seq[0], 0, flags{syn: true}, nil)
			s.after(time.Second)
		}
	}
	text := strings.Join(s.report().Text(inspect.Style{Width: 200}), "\n")
	for _, want := range []string{"First failure: 10.0.0.2:5432 does not answer SYNs", "2 connections, 10.0.0.1, 10.0.0.7 → 10.0.0.2:5432;"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
