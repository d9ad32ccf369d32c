package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"pcapctl/capture"
	"pcapctl/capture/request"
)

// progress shows a running capture on a terminal. It looks at the session's
// counters and never at its packets.
type progress struct {
	bar *progressbar.ProgressBar // nil when nothing is drawn

	mu   sync.Mutex // held while something writes to the terminal
	done chan struct{}
	wg   sync.WaitGroup
}

const (
	progressSteps = 1000
	progressEvery = 250 * time.Millisecond
)

// startProgress does nothing unless stderr is a terminal.
func (a *app) startProgress(s *capture.Session) *progress {
	c := s.Plan.Config
	return a.startBar(c.MaxTime != 0 || c.MaxBytes != 0, func() (string, float64) {
		now := s.Progress()
		return describeProgress(c, now), fraction(c, now)
	})
}

// startBar shows what look says until it is stopped: a text, and how much is
// done, from 0 to 1, if there is an end to measure against.
func (a *app) startBar(hasEnd bool, look func() (string, float64)) *progress {
	p := &progress{done: make(chan struct{})}
	if !isTerminal(a.err) {
		return p
	}
	steps := progressSteps
	if !hasEnd {
		steps = -1 // a spinner
	}
	p.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetSpinnerChangeInterval(0), // else the bar draws by itself, in between and afterwards
		progressbar.OptionClearOnFinish(),
	)
	a.bar.Store(p)
	p.wg.Go(func() {
		defer a.bar.CompareAndSwap(p, nil)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			text, part := look()
			p.mu.Lock()
			p.bar.Describe(text)
			// The last step is left to the end: a full bar would be cleared.
			_ = p.bar.Set(int(part * (progressSteps - 1)))
			p.mu.Unlock()
			select {
			case <-p.done:
				p.mu.Lock()
				_ = p.bar.Clear()
				p.mu.Unlock()
				return
			case <-tick.C:
			}
		}
	})
	return p
}

// aside takes the progress off the terminal until the function that it returns
// is called, so that a line can be written there.
func (a *app) aside() (back func()) {
	p := a.bar.Load()
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	_ = p.bar.Clear()
	return p.mu.Unlock
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}

// fraction is how far the capture is on the way to the limit that is nearest.
func fraction(c *request.Config, now capture.Progress) float64 {
	var f float64
	if c.MaxTime > 0 {
		f = float64(now.Elapsed) / float64(c.MaxTime)
	}
	if c.MaxBytes > 0 && !c.Rotates() {
		f = max(f, float64(now.Size)/float64(c.MaxBytes))
	}
	return min(f, 1)
}

func describeProgress(c *request.Config, now capture.Progress) string {
	elapsed := now.Elapsed.Truncate(time.Second).String()
	if c.MaxTime > 0 {
		elapsed += " of " + c.MaxTime.String()
	}
	size := humanize.IBytes(uint64(now.Size))
	if c.Rotates() {
		size = "file of " + size
	}
	if c.MaxBytes > 0 {
		size += " of " + humanize.IBytes(uint64(c.MaxBytes))
	}
	text := fmt.Sprintf("%s, %s, %s, %d dropped", elapsed, size, plural(now.Packets, "packet"), now.Dropped.Total())
	if c.Blob != nil {
		text += ", " + describeUpload(now.Upload)
	}
	return text
}
