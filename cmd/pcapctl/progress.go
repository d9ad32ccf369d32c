package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"pcapctl/capture"
)

// progress shows a running capture on a terminal. It looks at the session's
// counters and never at its packets.
type progress struct {
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
	bar := progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
	)
	p.wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			text, part := look()
			bar.Describe(text)
			// The last step is left to the end: a full bar would be cleared.
			_ = bar.Set(int(part * (progressSteps - 1)))
			select {
			case <-p.done:
				_ = bar.Clear()
				return
			case <-tick.C:
			}
		}
	})
	return p
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}

// fraction is how far the capture is on the way to the limit that is nearest.
func fraction(c *capture.Config, now capture.Progress) float64 {
	var f float64
	if c.MaxTime > 0 {
		f = float64(now.Elapsed) / float64(c.MaxTime)
	}
	if c.MaxBytes > 0 && !c.IsRing() {
		f = max(f, float64(now.Size)/float64(c.MaxBytes))
	}
	return min(f, 1)
}

func describeProgress(c *capture.Config, now capture.Progress) string {
	elapsed := now.Elapsed.Truncate(time.Second).String()
	if c.MaxTime > 0 {
		elapsed += " of " + c.MaxTime.String()
	}
	size := humanize.IBytes(uint64(now.Size))
	if c.IsRing() {
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
