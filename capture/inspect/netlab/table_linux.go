package netlab

import (
	"errors"
	"slices"
	"testing"
)

// Scene is a capture that is made by a conversation of which the fault is known.
type Scene struct {
	Name string
	How  string // how it is made
	// First is the id of the first failure that a report of the capture has to name,
	// "" where it must not name any.
	First string
	// Shows is what tshark has to say of the capture, so that it is known to be what
	// the scene is meant to be: see [Capture.Shows].
	Shows []string
	play  func(l *Lab)
	// Differs is why tshark says something else of some packets or totals, as docs/inspect.md
	// explains it; "" where everything has to be the same.
	Differs string
}

// Make plays the scene and gives the capture file. It returns when the last packet
// of the scene is recorded.
func (s *Scene) Make(t testing.TB) []byte {
	l := newLab(t)
	if s.First == "" {
		l.patient()
	}
	s.play(l)
	return l.finish()
}

// Scenes are all there are. Their names are different.
func Scenes() []*Scene {
	return slices.Concat(healthy(), recordings(), impaired(), endings(), windows(), unreachable(), names(), applications())
}

// Check reports whether a capture is what the scene is meant to be.
func (s *Scene) Check(c *Capture) error {
	var faults []error
	for _, condition := range s.Shows {
		faults = append(faults, c.Shows(condition))
	}
	return errors.Join(faults...)
}

// scene is a scene that tshark says the same of.
func scene(name, how, first string, shows []string, play func(l *Lab)) *Scene {
	return &Scene{Name: name, How: how, First: first, Shows: shows, play: play}
}
