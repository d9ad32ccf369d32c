package inspect

import (
	"crypto/sha256"
	_ "embed" // the style of the page
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcapctl/capture/fault"
)

//go:embed report.css
var pageStyle string

// markup is what stands in the page as it is. All of it is constant text of this file, the style and numbers;
// everything else goes through page.text.
//
// html/template does not do for this: what it needs of reflection made the program 5.4 MB larger, a
// fifth, and the page has no place but one for what comes from packets: the text of elements. Nothing else,
// no attribute, address, script or style, is made of it.
type markup string

// page is the page as far as it is written.
type page struct{ b strings.Builder }

func (p *page) mark(m markup) { p.b.WriteString(string(m)) }

// text writes what may come from packets: escaped, and visible.
func (p *page) text(s string) { p.b.WriteString(html.EscapeString(fault.VisibleLine(s))) }

// number writes a number, also as a value of an attribute.
func (p *page) number(n float64) { p.b.WriteString(strconv.FormatFloat(n, 'f', 2, 64)) }

// element writes an element with a text. class is "" for none.
func (p *page) element(tag, class markup, text string) {
	p.mark("<" + tag)
	p.class(class)
	p.text(text)
	p.mark("</" + tag + ">")
}

// class ends the head of an element.
func (p *page) class(class markup) {
	if class != "" {
		p.mark(` class="` + class + `"`)
	}
	p.mark(">")
}

// heading begins a part of the page.
func (p *page) heading(title string) {
	p.mark("\n")
	p.element("h2", "", title)
}

// pageColumn is a column of a table.
type pageColumn struct {
	title string
	class markup
}

// cell is a cell of a table: a text with, behind it, names and what it is in.
type cell struct{ text, names, through string }

// cells are cells that have only a text.
func cells(texts ...string) []cell {
	list := make([]cell, len(texts))
	for i, t := range texts {
		list[i].text = t
	}
	return list
}

// table begins a table.
func (p *page) table(columns ...pageColumn) {
	p.mark("\n" + `<div class="scroll"><table><thead><tr>`)
	for _, c := range columns {
		class := c.class
		if class == name { // only of what stands in the column
			class = ""
		}
		p.element("th", class, c.title)
	}
	p.mark("</tr></thead><tbody>")
}

func (p *page) row(columns []pageColumn, row []cell) {
	p.mark("\n<tr>")
	for i, c := range row {
		p.mark("<td")
		p.class(columns[i].class)
		p.text(c.text)
		if c.names != "" {
			p.mark(" ")
			p.element("span", "name", c.names)
		}
		if c.through != "" {
			p.mark(" ")
			p.element("span", "soft", "in "+c.through)
		}
		p.mark("</td>")
	}
	p.mark("</tr>")
}

func (p *page) endTable() { p.mark("</tbody></table></div>") }

// rows writes a table.
func rows[T any](p *page, columns []pageColumn, list []T, row func(*T) []cell) {
	p.table(columns...)
	for i := range list {
		p.row(columns, row(&list[i]))
	}
	p.endTable()
}

// columns are columns without a class.
func columns(titles ...string) []pageColumn {
	list := make([]pageColumn, len(titles))
	for i, t := range titles {
		list[i].title = t
	}
	return list
}

const (
	left markup = "left"
	name markup = "name"
)

// HTML writes the report as one page that needs nothing else: no script, no font, no
// request. What was in packets is escaped, for the page and for the eye.
//
// Errors are those of w.
func (r *Report) HTML(w io.Writer) error {
	p := new(page)
	p.head(r)
	p.heading("Is the capture complete?")
	p.findings(r.Quality, r.complete())
	p.heading("Failures")
	p.findings(r.Failures, r.failed())
	if r.Limits.FailuresCut > 0 {
		p.element("p", "", fmt.Sprintf("%d more are left out.", r.Limits.FailuresCut))
	}
	p.tcp(&r.TCP)
	p.dns(&r.DNS)
	p.tls(&r.TLS)
	p.http(&r.HTTP)
	p.talkers(&r.Talkers)
	p.context(r.Context)
	p.charts(r)
	if len(r.Limits.Dropped) > 0 {
		p.heading("Left out")
		p.mark("<p>")
		for _, table := range slices.Sorted(maps.Keys(r.Limits.Dropped)) {
			p.text(fmt.Sprintf("%s: no room for %d. ", table, r.Limits.Dropped[table]))
		}
		p.mark("</p>")
	}
	p.mark("\n</body>\n</html>\n")
	_, err := io.WriteString(w, p.b.String())
	return err
}

// head is the start of the page, and what was read.
func (p *page) head(r *Report) {
	// The style is allowed by its hash: an attribute or element that got into the page in
	// spite of all has none.
	sum := sha256.Sum256([]byte(pageStyle))
	p.mark(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-` + markup(base64.StdEncoding.EncodeToString(sum[:])) +
		`'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>pcapctl inspect</title>
<style>` + markup(pageStyle) + `</style>
</head>
<body>
<h1>What the capture shows</h1>
<p class="soft">`)
	for i, f := range r.Input.Files {
		if i > 0 {
			p.mark(", ")
		}
		p.element("span", "name", visible(f.Path))
		p.text(" (" + f.Format + ")")
	}
	p.text(": " + plural(r.Packets.Count, "packet") + ", " + size(r.Packets.Bytes) + ", " + inSeconds(r.Packets.DurationSeconds))
	if !r.Packets.First.IsZero() {
		p.text(" from " + fullTime(r.Packets.First))
	}
	p.mark("</p>")
	if r.Packets.Skipped > 0 {
		p.element("p", "soft", fmt.Sprintf("%d others are not kept by the filter: %s", r.Packets.Skipped, r.Input.Filter))
	}
	if r.Input.Interrupted {
		p.element("p", "sev warning", "Interrupted: this is what was read until then, not all of it.")
	}
	if r.Input.Error != "" {
		p.element("p", "sev error", "Not read to the end: "+r.Input.Error)
	}
	class := markup("verdict")
	if len(r.Failures) == 0 {
		class = "verdict good"
	}
	p.mark("\n")
	p.element("p", class, r.headline())
}

// findings are findings, or what is said where there are none.
func (p *page) findings(list []Finding, answer string) {
	if answer != "" {
		p.element("p", "good", answer)
	}
	for i := range list {
		f := &list[i]
		severity := severityClass(f.Severity)
		p.mark("\n" + `<section class="finding ` + severity + `"><p class="title">`)
		p.element("span", "sev "+severity, string(f.Severity))
		p.text(" " + f.Title)
		p.mark("</p>")
		p.element("p", "soft", f.where())
		p.element("p", "", "It means: "+f.Meaning)
		if f.Next != "" {
			p.element("p", "", "Next: "+f.Next)
		}
		for _, line := range f.contextLines() {
			p.element("p", "", line)
		}
		if f.DisplayFilter != "" {
			p.mark("<p>")
			p.element("code", "", f.DisplayFilter)
			p.mark("</p>")
		}
		p.mark("</section>")
	}
}

// severityClass is the class of a severity in the style.
func severityClass(s Severity) markup {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Note:
	}
	return "note"
}

func (p *page) tcp(t *TCP) {
	if t.Connections == 0 {
		return
	}
	p.heading("TCP by service")
	p.element("p", "", fmt.Sprintf("%s: %d established, %d unanswered, %d refused, %d reset, %d joined in the middle. %s (%d fast, %d by timeout, %d spurious), %d out of order, %s, %s.",
		plural(t.Connections, "connection"), t.Established, t.Unanswered, t.Refused, t.Reset, t.Joined, plural(t.Retransmissions, "retransmission"),
		t.Fast, t.Timeouts, t.Spurious, t.OutOfOrder, plural(t.DuplicateAcks, "duplicate ACK"), plural(t.ZeroWindows, "zero window")))
	rows(p, columns("server", "connections", "failed", "RTT p50/p99", "retransmitted to", "from", "out of order", "duplicate ACKs", "window closed", "limited by", "bytes to",
		"bytes from", "MSS"), t.Services, func(s *Service) []cell {
		closed, limited := "-", "-"
		if s.ZeroWindows > 0 {
			closed = inSeconds(s.ZeroWindowSeconds)
		}
		if s.LimitedBy != "" {
			limited = s.LimitedBy
		}
		list := cells(s.Server, decimal(s.Connections), decimal(s.Unanswered+s.Refused+s.Reset), short(s.HandshakeRTT), percentage(s.ToServer.RetransmissionPercent),
			percentage(s.ToClient.RetransmissionPercent), decimal(s.OutOfOrder), decimal(s.DuplicateAcks), closed, limited, size(s.ToServer.Bytes), size(s.ToClient.Bytes),
			fmt.Sprintf("%d/%d", s.MSS.Client, s.MSS.Server))
		list[0].names, list[0].through = few(tellingNames(s.Server, s.Names)), s.Through
		return list
	})
	for i := range t.Services {
		s := &t.Services[i]
		if s.Because != "" {
			p.element("p", "soft", s.Server+" is limited by the "+s.LimitedBy+": "+s.Because)
		}
		if s.MSS.ClampedBy != "" {
			p.element("p", "soft", s.Server+": "+s.MSS.ClampedBy)
		}
	}
}

func (p *page) dns(d *DNS) {
	if d.Queries == 0 && d.Unasked == 0 {
		return
	}
	p.heading("DNS")
	p.element("p", "", fmt.Sprintf("%s (%d sent again), %d answered, %d not; %d NXDOMAIN, %d SERVFAIL, %d REFUSED; p50/p99 %s", plural(d.Queries, "query"), d.Repeated,
		d.Answers, d.Unanswered, d.NXDomain, d.ServFail, d.Refused, short(d.Latency)))
	row := func(name string, g *DNSGroup) []cell {
		return cells(name, decimal(g.Queries), decimal(g.Unanswered), decimal(g.NXDomain), decimal(g.ServFail+g.Refused+g.OtherError), short(g.Latency))
	}
	rows(p, columns("server", "queries", "silent", "NXDOMAIN", "errors", "p50/p99"), d.Servers, func(g *DNSGroup) []cell { return row(g.Name, g) })
	named := columns("name", "queries", "silent", "NXDOMAIN", "errors", "p50/p99")
	named[0].class = name
	rows(p, named, d.Names, func(g *DNSGroup) []cell { return row(visible(g.Name), g) })
}

func (p *page) tls(t *TLS) {
	if t.ClientHellos == 0 {
		return
	}
	p.heading("TLS")
	p.element("p", "", fmt.Sprintf("%s, %d answered, %d not; %s", plural(t.ClientHellos, "ClientHello"), t.ServerHellos, t.Unanswered, plural(t.Alerts, "alert")))
	rows(p, append([]pageColumn{{"server name", name}, {"server", left}}, columns("hellos", "silent", "alerts", "version")...), t.Names, func(n *TLSName) []cell {
		return cells(hostName(n.Name), n.Server, decimal(n.ClientHellos), decimal(n.Unanswered), decimal(n.Alerts), strings.Join(n.Versions, ", "))
	})
}

func (p *page) http(h *HTTP) {
	if h.Requests == 0 && h.Responses == 0 {
		return
	}
	p.heading("HTTP in plain text")
	rows(p, append([]pageColumn{{"host", name}, {"server", left}}, columns("requests", "responses", "4xx", "5xx")...), h.Hosts, func(n *HTTPHost) []cell {
		return cells(visible(n.Host), n.Server, decimal(n.Requests), decimal(n.Responses), decimal(n.Status4xx), decimal(n.Status5xx))
	})
}

func (p *page) talkers(t *Talkers) {
	if len(t.Protocols) == 0 {
		return
	}
	p.heading("Who talks")
	p.counts(t.Protocols)
	p.element("h3", "", "Hosts")
	rows(p, columns("host", "packets sent", "bytes", "packets received", "bytes"), t.Hosts, func(h *Host) []cell {
		return cells(h.Address, decimal(h.PacketsSent), size(h.BytesSent), decimal(h.PacketsReceived), size(h.BytesReceived))
	})
	p.element("h3", "", "Conversations")
	rows(p, columns("from → to", "protocol", "packets there", "bytes", "packets back", "bytes"), t.Conversations, func(c *Conversation) []cell {
		list := cells(c.A+" → "+c.B, c.Protocol, decimal(c.PacketsAB), size(c.BytesAB), decimal(c.PacketsBA), size(c.BytesBA))
		list[0].names, list[0].through = c.programsOf(), c.Through
		return list
	})
	for _, more := range []struct {
		title string
		list  []Count
	}{{"Services", t.Services}, {"VLANs", t.VLANs}, {"Tunnels", t.Tunnels}} {
		if len(more.list) > 0 {
			p.element("h3", "", more.title)
			p.counts(more.list)
		}
	}
}

// counts is a table with a bar in each row.
func (p *page) counts(list []Count) {
	p.table(append(columns("name", "packets", "bytes"), pageColumn{"", left})...)
	var most uint64 = 1
	for _, c := range list {
		most = max(most, c.Bytes)
	}
	for _, c := range list {
		p.mark("\n<tr>")
		for _, text := range []string{c.Name, decimal(c.Packets), size(c.Bytes)} {
			p.element("td", "", text)
		}
		p.mark(`<td class="left"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect x="0" y="0" width="`)
		p.number(float64(c.Bytes) / float64(most) * 100)
		p.mark(`" height="10"/></svg></td></tr>`)
	}
	p.endTable()
}

// context is what the machine that captured tells.
func (p *page) context(list []*HostContext) {
	for _, c := range list {
		p.heading("What the machine counted")
		p.mark(`<p class="soft">`)
		p.element("span", "name", visible(c.File))
		p.text(fmt.Sprintf(": %d of %s named, sampled once a second", c.SocketsNamed, plural(uint64(c.SocketsSeen), "socket")))
		p.mark("</p>")
		if !c.Complete {
			p.element("p", "sev warning", "It is of the start of the capture only: the end could not be looked at or written.")
		}
		for _, text := range c.Problems {
			p.element("p", "sev warning", text)
		}
		if len(c.Counters) == 0 {
			if c.Complete {
				p.element("p", "good", "No counter that tells of trouble has moved.")
			}
			continue
		}
		rows(p, append(columns("counter", "by"), pageColumn{"what it counts", left}), c.Counters, func(k *HostCounter) []cell {
			return cells(k.Name, decimal(k.Delta), k.Meaning)
		})
	}
}

func (p *page) charts(r *Report) {
	list := r.series()
	if len(list) == 0 {
		return
	}
	p.heading("When")
	for _, s := range list {
		p.mark("\n<figure")
		p.class(s.class)
		p.element("figcaption", "", fmt.Sprintf("%s, at most %s in %s", s.name, s.most, inSeconds(r.Timeline.StepSeconds)))
		p.mark(`<svg viewBox="0 0 720 60" preserveAspectRatio="none" role="img" aria-label="` + s.name + ` over time">`)
		p.bars(s.values)
		p.mark("</svg></figure>")
	}
	p.element("p", "soft", "from "+fullTime(r.Timeline.Start)+", "+inSeconds(r.Packets.DurationSeconds))
}

// series is one line of the timeline.
type series struct {
	name, class markup
	values      []uint64
	most        string
}

// series are the lines of the timeline that have anything to show.
func (r *Report) series() []series {
	var list []series
	for _, c := range []struct {
		name, class markup
		value       func(*Step) uint64
		text        func(uint64) string
	}{
		{"Packets", "plain", func(s *Step) uint64 { return s.Packets }, decimal},
		{"Bytes", "plain", func(s *Step) uint64 { return s.Bytes }, size},
		{"Retransmissions", "warning", func(s *Step) uint64 { return s.Retransmissions }, decimal},
		{"Failures", "error", func(s *Step) uint64 { return s.Failures }, decimal},
	} {
		s := series{name: c.name, class: c.class, values: make([]uint64, len(r.Timeline.Steps))}
		var most uint64
		for i := range r.Timeline.Steps {
			s.values[i] = c.value(&r.Timeline.Steps[i])
			most = max(most, s.values[i])
		}
		if most > 0 {
			s.most = c.text(most)
			list = append(list, s)
		}
	}
	return list
}

// bars are the bars of a chart, in units of its view box.
func (p *page) bars(values []uint64) {
	const width, height = 720.0, 60.0
	var most uint64
	for _, v := range values {
		most = max(most, v)
	}
	step := width / float64(max(1, len(values)))
	for i, v := range values {
		if v == 0 {
			continue
		}
		h := max(1, float64(v)/float64(most)*height)
		for _, n := range []struct {
			before markup
			value  float64
		}{{`<rect x="`, float64(i) * step}, {`" y="`, height - h}, {`" width="`, max(0.5, step*0.9)}, {`" height="`, h}} {
			p.mark(n.before)
			p.number(n.value)
		}
		p.mark(`"/>`)
	}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func percentage(f float64) string { return fmt.Sprintf("%.1f%%", f) }

func inSeconds(s float64) string { return duration(int64(s * 1e9)) }

func fullTime(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") }
