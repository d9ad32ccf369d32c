package inspect

import (
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"

	"pcapctl/capture/fault"
)

//go:embed report.css
var pageStyle string

//go:embed report.html.tmpl
var pageText string

// page is the template, made when it is first needed.
var page = sync.OnceValues(func() (*template.Template, error) {
	return template.New("report").Funcs(template.FuncMap{
		"visible": visible, "line": fault.VisibleLine, "headline": (*Report).headline, "complete": (*Report).complete, "size": size, "short": short, "host": hostName, "clock": clock, "plural": plural,
		"where":   func(f Finding) string { return f.where() },
		"seconds": func(s float64) string { return duration(int64(s * 1e9)) },
		"full":    func(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") },
		"chart":   chart,
		"part": func(n uint64, list []Count) int {
			var most uint64 = 1
			for _, c := range list {
				most = max(most, c.Bytes)
			}
			return int(float64(n) / float64(most) * 100)
		},
		"failed": func(c TCPCounts) uint64 { return c.Unanswered + c.Refused + c.Reset },
		"errors": func(g DNSGroup) uint64 { return g.ServFail + g.Refused + g.OtherError },
		"few":    few,
		"join":   func(list []string) string { return strings.Join(list, ", ") },
	}).Parse(pageText)
})

// HTML writes the report as one page that needs nothing else: no script, no font, no
// request. What was in packets is escaped, for the page and for the eye.
//
// Errors are those of w.
func (r *Report) HTML(w io.Writer) error {
	t, err := page()
	if err != nil {
		return err
	}
	// The style is allowed by its hash: an attribute or element that got into the page in
	// spite of all has none.
	sum := sha256.Sum256([]byte(pageStyle))
	return t.Execute(w, map[string]any{
		"R": r, "Style": template.CSS(pageStyle), //nolint:gosec // it is a constant
		"Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		"Charts": r.charts(),
	})
}

// series is one line of the timeline.
type series struct {
	Name, Class string
	Values      []uint64
	Most        string
}

// charts are the lines of the timeline that have anything to show.
func (r *Report) charts() []series {
	var list []series
	for _, c := range []struct {
		name, class string
		value       func(*Step) uint64
		text        func(uint64) string
	}{
		{"Packets", "plain", func(s *Step) uint64 { return s.Packets }, func(n uint64) string { return fmt.Sprint(n) }},
		{"Bytes", "plain", func(s *Step) uint64 { return s.Bytes }, size},
		{"Retransmissions", "warning", func(s *Step) uint64 { return s.Retransmissions }, func(n uint64) string { return fmt.Sprint(n) }},
		{"Failures", "error", func(s *Step) uint64 { return s.Failures }, func(n uint64) string { return fmt.Sprint(n) }},
	} {
		s := series{Name: c.name, Class: c.class, Values: make([]uint64, len(r.Timeline.Steps))}
		var most uint64
		for i := range r.Timeline.Steps {
			s.Values[i] = c.value(&r.Timeline.Steps[i])
			most = max(most, s.Values[i])
		}
		if most > 0 {
			s.Most = c.text(most)
			list = append(list, s)
		}
	}
	return list
}

// bar is a rectangle of a chart, in units of its view box.
type bar struct{ X, Y, W, H string }

// Of a chart's view box.
const (
	chartWidth  = 720.0
	chartHeight = 60.0
)

// chart lays out the bars of a series.
func chart(values []uint64) []bar {
	var most uint64
	for _, v := range values {
		most = max(most, v)
	}
	step := chartWidth / float64(max(1, len(values)))
	var list []bar
	for i, v := range values {
		if v == 0 {
			continue
		}
		h := max(1, float64(v)/float64(most)*chartHeight)
		list = append(list, bar{
			X: fmt.Sprintf("%.2f", float64(i)*step), Y: fmt.Sprintf("%.2f", chartHeight-h),
			W: fmt.Sprintf("%.2f", max(0.5, step*0.9)), H: fmt.Sprintf("%.2f", h),
		})
	}
	return list
}
