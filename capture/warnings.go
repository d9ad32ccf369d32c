package capture

import (
	"fmt"
	"slices"
	"sync"
)

// warnings are sentences about what went wrong without harm to the packets, on
// the way of a session. It is safe for concurrent use.
type warnings struct {
	mu    sync.Mutex
	texts []string
	more  int
}

// enoughWarnings is how many are kept: a trouble may come with every file.
const enoughWarnings = 20

// add adds a sentence; "" is none.
func (w *warnings) add(text string) {
	if text == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.texts) == enoughWarnings {
		w.more++
		return
	}
	w.texts = append(w.texts, text)
}

func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.Clone(w.texts)
	if w.more > 0 {
		list = append(list, fmt.Sprintf("and %d more", w.more))
	}
	return list
}

func (w *warnings) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts, w.more = nil, 0
}
