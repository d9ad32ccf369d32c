package inspect_test

import (
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"pcapctl/capture/inspect"
)

// hostileNames are names that must not be obeyed by anything that shows them.
var hostileNames = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a\x1b[31mred\x1b]0;title\x07", "a\u202egnp.exe", "two\nlines\r\x00", "\xff\xfe",
	strings.Repeat("x", 10_000), "javascript:alert(1)", "' onload='x", "{{.}}", "</style><style>*{display:none}",
}

// rawDNS makes a query of a name in one or more labels of any bytes.
func rawDNS(id uint16, name string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for len(name) > 0 {
		n := min(len(name), 63)
		b = append(append(b, byte(n)), name[:n]...)
		name = name[n:]
	}
	return append(b, 0, 0, 1, 0, 1)
}

// hostileScene has the names wherever a name can be.
func hostileScene(t testing.TB) *scene {
	s := newScene(t)
	for i, name := range hostileNames {
		for try := range 2 {
			s.udp(clientIP, uint16(5000+i), "10.0.0.53", 53, rawDNS(uint16(i), name[:min(len(name), 240)]))
			s.after(time.Second << try)
		}
		c := s.conn(clientIP, uint16(4000+i), serverIP, 443).handshake()
		for hello := clientHello(name[:min(len(name), 1200)]); len(hello) > 0; { // in several segments
			n := min(len(hello), 300)
			c.data(byClient, hello[:n])
			hello = hello[n:]
		}
		c.data(byServer, []byte{21, 3, 3, 0, 2, 2, 40})
		h := s.conn(clientIP, uint16(6000+i), serverIP, 80).handshake()
		h.data(byClient, []byte("GET / HTTP/1.1\r\nHost: "+name[:min(len(name), 1300)]+"\r\n\r\n"))
		h.data(byServer, []byte("HTTP/1.1 500 No\r\n\r\n")).close()
	}
	return s
}

// TestHostileNames: what is in names is shown as text, to the terminal and on the page.
func TestHostileNames(t *testing.T) {
	r := reportOf(t, hostileScene(t).file(), inspect.Options{Top: 100})
	if len(r.DNS.Names) < len(hostileNames) || len(r.TLS.Names) < len(hostileNames)-1 || len(r.HTTP.Hosts) < len(hostileNames)-3 {
		t.Errorf("names of DNS %d, TLS %d, HTTP %d", len(r.DNS.Names), len(r.TLS.Names), len(r.HTTP.Hosts))
	}
	for _, style := range []inspect.Style{{Width: 80}, {Width: 200, Color: true}, {Width: 1, ASCII: true}} {
		for _, line := range r.Text(style) {
			rest := line
			if style.Color {
				for _, code := range []string{"0", "1", "2", "31", "32", "33", "36"} {
					rest = strings.ReplaceAll(rest, "\x1b["+code+"m", "")
				}
			}
			if strings.ContainsFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%+v: %q", style, line)
			}
			if style.ASCII && strings.ContainsFunc(rest, func(r rune) bool { return r > unicode.MaxASCII }) {
				t.Fatalf("%+v: %q", style, line)
			}
		}
	}
	text := strings.Join(r.Text(inspect.Style{Width: 120}), "\n")
	for _, want := range []string{"<script>alert(1)</script>", `a\x1b[31mred`, `a\u202egnp.exe`} {
		if !strings.Contains(text, want) {
			t.Errorf("the text has no %q", want)
		}
	}
	var b strings.Builder
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "<img", "onerror=alert(1)>\"", "\x1b", "\u202e", "\x00", "</style><style>*", "http://", "https://", "url("} {
		if n := strings.Count(page, bad); n > 0 {
			t.Errorf("the page has %q %d times", bad, n)
		}
	}
	onlyOwnMarkup(t, page)
	for _, want := range []string{"&lt;script&gt;alert(1)&lt;/script&gt;", `a\u202egnp.exe`, "default-src 'none'"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if len(page) > 1<<20 {
		t.Errorf("a page of %d bytes", len(page))
	}
}

// onlyOwnMarkup reads a page as a browser does: it has the elements and attributes that it is made of, with values that
// no packet has anything to do with.
func onlyOwnMarkup(t *testing.T, page string) {
	t.Helper()
	number := regexp.MustCompile(`^[0-9]+\.[0-9]{2}$|^[0-9]+$`)
	values := map[string]*regexp.Regexp{
		"html.lang": regexp.MustCompile("^en$"), "meta.charset": regexp.MustCompile("^utf-8$"), "meta.http-equiv": regexp.MustCompile("^Content-Security-Policy$"),
		"meta.name":    regexp.MustCompile("^(viewport|referrer)$"),
		"meta.content": regexp.MustCompile(`^(width=device-width, initial-scale=1|no-referrer|default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]+='; base-uri 'none'; form-action 'none')$`),
		"class":        regexp.MustCompile(`^(soft|name|left|good|title|scroll|bar|plain|error|warning|verdict( good)?|(sev|finding) (error|warning|note))$`),
		"svg.viewbox":  regexp.MustCompile("^0 0 (720 60|100 10)$"), "svg.preserveaspectratio": regexp.MustCompile("^none$"), "svg.role": regexp.MustCompile("^img$"),
		"svg.aria-hidden": regexp.MustCompile("^true$"), "svg.aria-label": regexp.MustCompile("^(Packets|Bytes|Retransmissions|Failures) over time$"),
		"rect.x": number, "rect.y": number, "rect.width": number, "rect.height": number,
	}
	elements := strings.Fields("html head meta title style body h1 h2 h3 p span section code div table thead tbody tr th td figure figcaption svg rect")
	var open []string
	tokens := html.NewTokenizer(strings.NewReader(page))
	styles := 0
	for {
		kind := tokens.Next()
		token := tokens.Token()
		switch kind {
		case html.ErrorToken:
			if len(open) > 0 || styles != 1 {
				t.Errorf("%v are left open, %d styles", open, styles)
			}
			return
		case html.CommentToken:
			t.Errorf("a comment: %q", token.Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			if !slices.Contains(elements, token.Data) {
				t.Errorf("an element <%s>", token.Data)
			}
			for _, a := range token.Attr {
				allowed := values[token.Data+"."+a.Key]
				if a.Key == "class" {
					allowed = values["class"]
				}
				if allowed == nil || !allowed.MatchString(a.Val) {
					t.Errorf("<%s %s=%q>", token.Data, a.Key, a.Val)
				}
			}
			if token.Data == "style" {
				styles++
			}
			if kind == html.StartTagToken && token.Data != "meta" {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> where %v are open", token.Data, open)
			}
			open = open[:len(open)-1]
		case html.TextToken, html.DoctypeToken:
		}
	}
}

// TestPageIsOwnMarkup: so is the page of every scene.
func TestPageIsOwnMarkup(t *testing.T) {
	for _, test := range scenes {
		s := newScene(t)
		test.make(s)
		var b strings.Builder
		if err := s.report().HTML(&b); err != nil {
			t.Fatal(err)
		}
		onlyOwnMarkup(t, b.String())
	}
}

// TestTextFits: no line is longer than the width, but for the narrowest.
func TestTextFits(t *testing.T) {
	for _, test := range scenes {
		s := newScene(t)
		test.make(s)
		r := s.report()
		for _, style := range []inspect.Style{{Width: 40}, {Width: 80}, {Width: 80, ASCII: true}, {Width: 132}} {
			for _, line := range r.Text(style) {
				if n := len([]rune(line)); n > style.Width {
					t.Errorf("%s: %d columns of %d: %s", test.name, n, style.Width, line)
				}
			}
		}
	}
}
