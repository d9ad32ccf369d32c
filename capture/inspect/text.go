package inspect

import (
	"fmt"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"pcapctl/capture/fault"
)

// Style says how a report is laid out as text.
type Style struct {
	Width int  // columns; at least minWidth are used
	Color bool // with the escape sequences of a terminal
	ASCII bool // no other characters than those of ASCII but for what was in names
}

const minWidth = 40

// paper is what a report is written on.
type paper struct {
	Style
	lines []string
}

// Text is the report for people: what is wrong first. Nothing in it is obeyed by a
// terminal but colours, where they are asked for.
func (r *Report) Text(s Style) []string {
	p := &paper{Style: s}
	p.Width = max(p.Width, minWidth)
	p.header(r)
	p.findings("Is the capture complete?", r.Quality, r.complete())
	p.findings("Failures", r.Failures, r.failed())
	if n := r.Limits.FailuresCut; n > 0 {
		p.wrap("  ", "  ", fmt.Sprintf("%d more are left out", n))
	}
	p.services(r)
	p.names(r)
	p.talkers(r)
	p.context(r)
	p.when(r)
	p.limits(r)
	return p.lines
}

// Colours of a terminal.
const (
	red    = "31"
	yellow = "33"
	green  = "32"
	blue   = "36"
	bold   = "1"
	faint  = "2"
)

// paint colours a text that has been made safe.
func (p *paper) paint(color, text string) string {
	if !p.Color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (p *paper) line(text string) { p.lines = append(p.lines, text) }

// plain takes out what is not ASCII, where that is asked for: of the page's own texts.
func (p *paper) plain(text string) string {
	if !p.ASCII {
		return text
	}
	return strings.NewReplacer("…", "...", "–", "-", "→", "->", "←", "<-", "✗", "x", "✓", "ok", "·", "-", "µ", "u").Replace(text)
}

// wrap writes a text in lines of the width; the first begins with first, the others with
// next. A word that is longer than a line is broken, as are long filters.
func (p *paper) wrap(first, next, text string) { p.wrapIn("", first, next, text) }

func (p *paper) wrapIn(color, first, next, text string) {
	text = p.plain(text)
	lead, room := first, max(10, p.Width-width(next)-1)
	line := ""
	flush := func() {
		p.line(lead + p.paint(color, line))
		lead, line = next, ""
	}
	for word := range strings.FieldsSeq(text) {
		if line != "" && width(line)+1+width(word) > room {
			flush()
		}
		for width(word) > room {
			part := cutTo(word, room)
			line = part
			word = word[len(part):]
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" || lead == first {
		flush()
	}
}

func width(text string) int { return uniseg.StringWidth(text) }

// cutTo is as much of a text as fits in so many columns.
func cutTo(text string, columns int) string {
	used := 0
	for i, r := range text {
		n := uniseg.StringWidth(string(r))
		if used+n > columns {
			return text[:i]
		}
		used += n
	}
	return text
}

// fit is a text in exactly so many columns, cut with an ellipsis where it is longer.
func (p *paper) fit(text string, columns int) string {
	text = p.plain(text)
	if width(text) > columns {
		end := p.plain("…")
		text = cutTo(text, max(0, columns-len([]rune(end)))) + end
	}
	return text + strings.Repeat(" ", max(0, columns-width(text)))
}

func (p *paper) heading(text string) {
	p.line("")
	p.line(p.paint(bold, p.plain(text)))
}

func (p *paper) header(r *Report) {
	var paths []string
	for _, f := range r.Input.Files {
		paths = append(paths, visible(f.Path))
	}
	what := strings.Join(paths[:min(len(paths), 3)], ", ")
	if len(paths) > 3 {
		what = fmt.Sprintf("%s … %s (%d files)", paths[0], paths[len(paths)-1], len(paths))
	}
	text := fmt.Sprintf("%s: %s, %s, %s", what, plural(r.Packets.Count, "packet"), size(r.Packets.Bytes), duration(int64(r.Packets.DurationSeconds*1e9)))
	if !r.Packets.First.IsZero() {
		text += " from " + r.Packets.First.Format("2006-01-02 15:04:05 MST")
	}
	if r.Packets.Skipped > 0 {
		text += fmt.Sprintf("; %d others are not kept by the filter: %s", r.Packets.Skipped, r.Input.Filter)
	}
	p.wrap("", "  ", text)
	if r.Input.Interrupted {
		p.wrapIn(yellow, "", "  ", "Interrupted: this is what was read until then, not all of it.")
	}
	if r.Input.Error != "" {
		p.wrapIn(red, "", "  ", "Not read to the end: "+fault.VisibleLine(r.Input.Error))
	}
	color := red
	if len(r.Failures) == 0 {
		color = green
	} else if r.Failures[0].Severity != Error {
		color = yellow
	}
	p.wrapIn(color, "", "  ", r.headline())
}

func (s Severity) color() string {
	switch s {
	case Error:
		return red
	case Warning:
		return yellow
	case Note:
	}
	return blue
}

// How many findings are told in full, and how many by their title.
const (
	maxTold   = 8
	maxTitles = 40
)

func (p *paper) findings(heading string, list []Finding, answer string) {
	p.heading(heading)
	if answer != "" {
		p.wrapIn(green, "  ", "  ", answer)
	}
	for i, f := range list {
		if i == maxTitles {
			p.wrap("   ", "   ", fmt.Sprintf("… and %d more: -o json has them all", len(list)-i))
			break
		}
		number := fmt.Sprintf("%2d ", i+1)
		p.wrapIn(f.Severity.color(), number, "   ", fmt.Sprintf("%s: %s", f.Severity, f.Title))
		if i >= maxTold {
			continue
		}
		p.wrap("     ", "     ", f.where())
		p.wrap("     ", "     ", "means: "+f.Meaning)
		if f.Next != "" {
			p.wrap("     ", "     ", "next: "+f.Next)
		}
		for _, line := range f.contextLines() {
			p.wrap("     ", "     ", fault.VisibleLine(line))
		}
		if f.DisplayFilter != "" {
			p.wrapIn(faint, "     ", "       ", "filter: "+f.DisplayFilter)
		}
	}
}

// clock is the time of a packet for people.
func clock(t time.Time) string { return t.Format("15:04:05.000") }

// aboutService reports whether the first endpoint is a server, and the others its clients.
func (f *Finding) aboutService() bool {
	layer, _, _ := strings.Cut(f.ID, "-")
	return layer == "tcp" || layer == "tls" || layer == "http"
}

// where says whom a finding concerns and when.
func (f *Finding) where() string {
	text := plural(f.Count, f.Unit)
	more := ""
	if f.More > 0 {
		more = fmt.Sprintf(" and %d more", f.More)
	}
	switch ends := f.Endpoints; {
	case f.aboutService() && len(ends) > 1:
		text += ", " + strings.Join(ends[1:], ", ") + more + " → " + ends[0]
	case len(ends) > 0:
		text += ", " + strings.Join(ends, ", ") + more
	}
	switch f.FirstPacket {
	case 0:
	case f.LastPacket:
		text += fmt.Sprintf("; at %s, packet %d", clock(f.First), f.FirstPacket)
	default:
		text += fmt.Sprintf("; %s – %s, packets %d – %d", clock(f.First), clock(f.Last), f.FirstPacket, f.LastPacket)
	}
	return text
}

// size is a number of bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 4 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}

// column is one of a table.
type column struct {
	head  string
	right bool
}

// table writes rows in columns. What is wider than the page loses columns from the right;
// the first column is cut before that.
func (p *paper) table(columns []column, rows [][]string) {
	const gap, least = 2, 16
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = width(c.head)
		for _, row := range rows {
			widths[i] = max(widths[i], width(p.plain(row[i])))
		}
	}
	total := func() int {
		n := 2
		for _, w := range widths {
			n += w + gap
		}
		return n - gap
	}
	widths[0] = min(widths[0], max(least, p.Width/2))
	for total() > p.Width && widths[0] > least {
		widths[0]--
	}
	for total() > p.Width && len(widths) > 2 {
		widths = widths[:len(widths)-1]
	}
	write := func(cells []string, color string) {
		shown := make([]string, len(widths))
		for i, w := range widths {
			cell := p.plain(cells[i])
			if n := width(cell); columns[i].right && n < w {
				cell = strings.Repeat(" ", w-n) + cell
			}
			shown[i] = p.fit(cell, w)
		}
		p.line(p.paint(color, strings.TrimRight("  "+strings.Join(shown, strings.Repeat(" ", gap)), " ")))
	}
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.head
	}
	write(heads, faint)
	for _, row := range rows {
		write(row, "")
	}
}

func short(l Latency) string {
	if l.Count == 0 {
		return "-"
	}
	return duration(int64(l.P50Seconds*1e9)) + "/" + duration(int64(l.P99Seconds*1e9))
}

func (p *paper) services(r *Report) {
	if r.TCP.Connections == 0 {
		return
	}
	p.heading("TCP by service")
	t := &r.TCP
	p.wrap("  ", "  ", fmt.Sprintf("%s: %d established, %d unanswered, %d refused, %d reset, %d joined in the middle", plural(t.Connections, "connection"),
		t.Established, t.Unanswered, t.Refused, t.Reset, t.Joined))
	p.wrap("  ", "  ", fmt.Sprintf("%s (%d fast, %d by timeout, %d spurious), %d out of order, %s, %s", plural(t.Retransmissions, "retransmission"),
		t.Fast, t.Timeouts, t.Spurious, t.OutOfOrder, plural(t.DuplicateAcks, "duplicate ACK"), plural(t.ZeroWindows, "zero window")))
	rows := make([][]string, 0, len(t.Services))
	for _, s := range t.Services {
		zero := "-"
		if s.ZeroWindows > 0 {
			zero = duration(int64(s.ZeroWindowSeconds * 1e9))
		}
		limited := s.LimitedBy
		if limited == "" {
			limited = "-"
		}
		rows = append(rows, []string{
			nameOf(s.Server, s.Names), fmt.Sprint(s.Connections), fmt.Sprint(s.Unanswered + s.Refused + s.Reset), short(s.HandshakeRTT),
			fmt.Sprintf("%.1f/%.1f%%", s.ToServer.RetransmissionPercent, s.ToClient.RetransmissionPercent), fmt.Sprint(s.OutOfOrder), fmt.Sprint(s.DuplicateAcks),
			zero, limited, size(s.ToServer.Bytes), size(s.ToClient.Bytes), fmt.Sprintf("%d/%d", s.MSS.Client, s.MSS.Server), s.Through,
		})
	}
	p.table([]column{
		{"server", false}, {"conns", true}, {"failed", true}, {"RTT p50/p99", true}, {"retr to/from", true}, {"ooo", true}, {"dupack", true},
		{"0-win", true}, {"limited by", false}, {"to", true}, {"from", true}, {"MSS", true}, {"in", false},
	}, rows)
	for _, s := range t.Services {
		if s.Because != "" {
			p.wrap("  ", "    ", fmt.Sprintf("%s is limited by the %s: %s", s.Server, s.LimitedBy, s.Because))
		}
		if s.MSS.ClampedBy != "" {
			p.wrap("  ", "    ", s.Server+": "+s.MSS.ClampedBy)
		}
	}
}

// nameOf is an endpoint with the first of its names.
func nameOf(at string, names []string) string {
	names = tellingNames(at, names)
	if len(names) == 0 {
		return at
	}
	return at + " " + visible(names[0])
}

func (p *paper) names(r *Report) {
	if d := &r.DNS; d.Queries+d.Answers+d.Unasked > 0 {
		p.heading("DNS")
		p.wrap("  ", "  ", fmt.Sprintf("%s (%d sent again), %d answered, %d not; %d NXDOMAIN, %d SERVFAIL, %d REFUSED; p50/p99 %s", plural(d.Queries, "query"),
			d.Repeated, d.Answers, d.Unanswered, d.NXDomain, d.ServFail, d.Refused, short(d.Latency)))
		p.groups("server", d.Servers, func(s string) string { return s })
		p.groups("name", d.Names, visible)
	}
	if t := &r.TLS; t.ClientHellos > 0 {
		p.heading("TLS")
		p.wrap("  ", "  ", fmt.Sprintf("%s, %d answered, %d not; %s", plural(t.ClientHellos, "ClientHello"), t.ServerHellos, t.Unanswered, plural(t.Alerts, "alert")))
		rows := make([][]string, 0, len(t.Names))
		for _, n := range t.Names {
			rows = append(rows, []string{hostName(n.Name), n.Server, fmt.Sprint(n.ClientHellos), fmt.Sprint(n.Unanswered), fmt.Sprint(n.Alerts), strings.Join(n.Versions, ", ")})
		}
		p.table([]column{{"server name", false}, {"server", false}, {"hellos", true}, {"silent", true}, {"alerts", true}, {"version", false}}, rows)
	}
	if h := &r.HTTP; h.Requests+h.Responses > 0 {
		p.heading("HTTP in plain text")
		rows := make([][]string, 0, len(h.Hosts))
		for _, n := range h.Hosts {
			rows = append(rows, []string{visible(n.Host), n.Server, fmt.Sprint(n.Requests), fmt.Sprint(n.Responses), fmt.Sprint(n.Status4xx), fmt.Sprint(n.Status5xx)})
		}
		p.table([]column{{"host", false}, {"server", false}, {"requests", true}, {"responses", true}, {"4xx", true}, {"5xx", true}}, rows)
	}
}

func hostName(name string) string {
	if name == "" {
		return "(none)"
	}
	return visible(name)
}

func (p *paper) groups(what string, list []DNSGroup, show func(string) string) {
	if len(list) == 0 {
		return
	}
	rows := make([][]string, 0, len(list))
	for _, g := range list {
		rows = append(rows, []string{
			show(g.Name), fmt.Sprint(g.Queries), fmt.Sprint(g.Unanswered), fmt.Sprint(g.NXDomain), fmt.Sprint(g.ServFail + g.Refused + g.OtherError), short(g.Latency),
		})
	}
	p.table([]column{{what, false}, {"queries", true}, {"silent", true}, {"nxdomain", true}, {"errors", true}, {"p50/p99", true}}, rows)
}

func (p *paper) talkers(r *Report) {
	t := &r.Talkers
	if len(t.Protocols) == 0 {
		return
	}
	p.heading("Who talks")
	p.counts("protocol", t.Protocols)
	rows := make([][]string, 0, len(t.Hosts))
	for _, h := range t.Hosts {
		rows = append(rows, []string{h.Address, fmt.Sprint(h.PacketsSent), size(h.BytesSent), fmt.Sprint(h.PacketsReceived), size(h.BytesReceived)})
	}
	if len(rows) > 0 {
		p.table([]column{{"host", false}, {"sent", true}, {"", true}, {"received", true}, {"", true}}, rows)
	}
	rows = rows[:0]
	for _, c := range t.Conversations {
		rows = append(rows, []string{c.A + " → " + c.B, c.Protocol, fmt.Sprint(c.PacketsAB), size(c.BytesAB), fmt.Sprint(c.PacketsBA), size(c.BytesBA), c.Through})
	}
	if len(rows) > 0 {
		p.table([]column{{"conversation", false}, {"", false}, {"there", true}, {"", true}, {"back", true}, {"", true}, {"in", false}}, rows)
	}
	p.programs(t.Conversations)
	p.counts("service", t.Services)
	p.counts("VLAN", t.VLANs)
	p.counts("tunnel", t.Tunnels)
}

// counts is a table of counts with a bar for the bytes.
func (p *paper) counts(what string, list []Count) {
	if len(list) == 0 {
		return
	}
	var most uint64
	for _, c := range list {
		most = max(most, c.Bytes)
	}
	rows := make([][]string, 0, len(list))
	for _, c := range list {
		rows = append(rows, []string{c.Name, fmt.Sprint(c.Packets), size(c.Bytes), p.bar(c.Bytes, most)})
	}
	p.table([]column{{what, false}, {"packets", true}, {"bytes", true}, {"", false}}, rows)
}

const barColumns = 20

// bar is a bar for a part of the most.
func (p *paper) bar(n, most uint64) string {
	if most == 0 {
		return ""
	}
	block := "█"
	if p.ASCII {
		block = "#"
	}
	return strings.Repeat(block, max(1, int(float64(n)/float64(most)*barColumns+0.5)))
}

var (
	sparks      = []rune("▁▂▃▄▅▆▇█")
	sparksASCII = []rune(".:-=+*#@")
)

// spark is a line of values over time, one column each.
func (p *paper) spark(values []uint64, columns int) (line string, most uint64) {
	steps := sparks
	if p.ASCII {
		steps = sparksASCII
	}
	columns = min(columns, len(values))
	sums := make([]uint64, columns)
	for i, v := range values {
		sums[i*columns/len(values)] += v
	}
	for _, v := range sums {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range sums {
		if v == 0 {
			b.WriteByte(' ')
		} else {
			b.WriteRune(steps[min(len(steps)-1, int(float64(v)/float64(most)*float64(len(steps))))])
		}
	}
	return b.String(), most
}

func (p *paper) when(r *Report) {
	steps := r.Timeline.Steps
	if len(steps) == 0 {
		return
	}
	p.heading("When")
	const label = 18
	columns := max(10, p.Width-label-14)
	for _, row := range []struct {
		name  string
		value func(*Step) uint64
		color string
	}{
		{"packets", func(s *Step) uint64 { return s.Packets }, ""},
		{"bytes", func(s *Step) uint64 { return s.Bytes }, ""},
		{"retransmissions", func(s *Step) uint64 { return s.Retransmissions }, yellow},
		{"failures", func(s *Step) uint64 { return s.Failures }, red},
	} {
		values := make([]uint64, len(steps))
		shows := false
		for i := range steps {
			values[i] = row.value(&steps[i])
			shows = shows || values[i] > 0
		}
		if !shows {
			continue
		}
		line, most := p.spark(values, columns)
		p.line("  " + p.fit(row.name, label-2) + p.paint(row.color, line) + fmt.Sprintf("  max %d", most))
	}
	end := r.Timeline.Start.Add(time.Duration(float64(len(steps)) * r.Timeline.StepSeconds * float64(time.Second)))
	shown := min(columns, len(steps))
	from, to := clock(r.Timeline.Start), clock(end)
	axis := from + strings.Repeat(" ", max(1, shown-len(from)-len(to))) + to
	if indent := strings.Repeat(" ", label); width(axis) <= p.Width-label {
		p.line(indent + p.paint(faint, axis))
	} else {
		p.line("  " + p.paint(faint, axis))
	}
}

func (p *paper) limits(r *Report) {
	if len(r.Limits.Dropped) == 0 {
		return
	}
	p.heading("Left out")
	for _, name := range sortedKeys(r.Limits.Dropped) {
		p.wrap("  ", "    ", fmt.Sprintf("%s: no room for %d", name, r.Limits.Dropped[name]))
	}
}
