package main

import (
	"slices"
	"sync"
)

// told are the warnings that were given while a session ran. The zero value is none.
type told struct {
	mu     sync.Mutex
	texts  []string
	saying sync.WaitGroup
}

// tell warns at once of what goes wrong while a session runs. It may be called from any goroutine, and does not wait until
// the warning is written: it is called by those who write files and end captures.
func (a *app) tell(text string) {
	a.told.mu.Lock()
	defer a.told.mu.Unlock()
	a.told.texts = append(a.told.texts, text)
	a.told.saying.Go(func() { a.warn(text) })
}

// warnOnce gives the warnings of a result that were not given while it came about.
func (a *app) warnOnce(warnings []string) {
	a.told.saying.Wait()
	a.told.mu.Lock()
	defer a.told.mu.Unlock()
	for _, w := range warnings {
		if !slices.Contains(a.told.texts, w) {
			a.warn(w)
		}
	}
}
