package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// progress shows a running capture on a terminal, in one line. It looks at the
// session's counters and never at its packets.
type progress struct {
	mu   sync.Mutex // whoever writes to the terminal has it
	done chan struct{}
	wg   sync.WaitGroup
}

// sight is what progress shows: texts, the most important first, and how much is
// done, from 0 to 1; below zero when there is no end to measure against.
type sight struct {
	texts []string
	part  float64
}

const progressEvery = 250 * time.Millisecond

// clearLine empties the line that the cursor is in.
const clearLine = "\x1b[2K\r"

// startProgress does nothing unless stderr is a terminal.
func (a *app) startProgress(s *capture.Session) *progress {
	c := s.Plan.Config
	return a.startBar(func() sight {
		if texts := describeCommand(s); texts != nil {
			return sight{texts, -1}
		}
		now := s.Progress()
		return sight{describeProgress(c, now), fraction(c, now)}
	})
}

// describeCommand says what is waited for when the capture has ended and a command
// for its file runs; nil while it captures.
func describeCommand(s *capture.Session) []string {
	select {
	case <-s.Ended():
	default:
		return nil
	}
	c := s.Command()
	if c == nil {
		return nil
	}
	return []string{
		fmt.Sprintf("waiting for --on-file, %s of %s", time.Since(c.Since).Truncate(time.Second), c.Limit),
		"Ctrl-C ends it", "file " + c.File,
	}
}

// startBar shows what look says until it is stopped.
func (a *app) startBar(look func() sight) *progress {
	p := &progress{done: make(chan struct{})}
	if a.quiet || !isTerminal(a.err) {
		return p
	}
	a.bar.Store(p)
	p.wg.Go(func() {
		defer a.bar.CompareAndSwap(p, nil)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			now := look()
			p.write(a.err, clearLine+now.line(widthOf(a.err)-1))
			select {
			case <-p.done:
				p.write(a.err, clearLine)
				return
			case <-tick.C:
			}
		}
	})
	return p
}

func (p *progress) write(w io.Writer, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(w, text)
}

// Of the bar: its columns, and how fine it is.
const (
	barWidth      = 20
	progressSteps = 1000
)

// line is what is shown in so many columns, so that it never takes a second line:
// as many of the texts as fit, and a bar before them where there is room for it.
func (s sight) line(columns int) string {
	text := ""
	for i, t := range s.texts {
		t = fault.VisibleLine(t)
		longer := text + ", " + t
		if i == 0 {
			longer = t
		}
		if n := utf8.RuneCountInString(longer); i > 0 && n > columns {
			continue
		}
		text = longer
	}
	if r := []rune(text); len(r) > columns {
		return string(r[:max(0, columns)])
	}
	if s.part < 0 {
		return text
	}
	if line := barOf(s.part) + " " + text; utf8.RuneCountInString(line) <= columns {
		return line
	}
	return text
}

// barOf is the bar for a part of the whole. Only its text is the library's work: it
// is drawn with the rest of the line at once, which has to fit the terminal.
func barOf(part float64) string {
	bar := progressbar.NewOptions(progressSteps,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
	)
	_ = bar.RenderBlank()
	// The last step is left out: a full bar is a new line for the library.
	_ = bar.Set(min(int(part*progressSteps), progressSteps-1))
	return strings.TrimSpace(strings.ReplaceAll(bar.String(), "\r", ""))
}

// aside takes the progress off the terminal until the function that it returns
// is called, so that a line can be written there.
func (a *app) aside() (back func()) {
	p := a.bar.Load()
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	_, _ = io.WriteString(a.err, clearLine)
	return p.mu.Unlock
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}

// fraction is how far the capture is on the way to the limit that is nearest,
// below zero when it has none.
func fraction(c *request.Config, now capture.Progress) float64 {
	f := -1.0
	if c.MaxTime > 0 {
		f = float64(now.Elapsed) / float64(c.MaxTime)
	}
	if c.MaxBytes > 0 && !c.Rotates() {
		f = max(f, float64(now.Size)/float64(c.MaxBytes))
	}
	if c.MaxPackets > 0 {
		f = max(f, float64(now.Packets)/float64(c.MaxPackets))
	}
	return min(f, 1)
}

func describeProgress(c *request.Config, now capture.Progress) []string {
	elapsed := now.Elapsed.Truncate(time.Second).String()
	if c.MaxTime > 0 {
		elapsed += " of " + c.MaxTime.String()
	}
	size := sizeText(now.Size)
	if c.Rotates() {
		size = "file of " + size
	}
	if c.MaxBytes > 0 {
		size += " of " + sizeText(c.MaxBytes)
	}
	packets := plural(now.Packets, "packet")
	if c.MaxPackets > 0 {
		packets = fmt.Sprintf("%d of %s", now.Packets, plural(c.MaxPackets, "packet"))
	}
	texts := []string{elapsed, packets, fmt.Sprintf("%d dropped", now.Dropped.Total()), size}
	if c.Blob != nil {
		texts = append(texts, describeUpload(now.Upload))
	}
	return texts
}
