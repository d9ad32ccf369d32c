package registry

import (
	"time"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// Unlisted stands for a Claim when a capture goes on although the registry
// cannot be used. It is a capture.Watcher, and keeps nothing.
type Unlisted struct{}

// Listed is always false: no session of the registry tells of the capture.
func (Unlisted) Listed() bool { return false }

// Begin does nothing.
func (Unlisted) Begin(time.Time, storage.FileID) {}

// Progress does nothing.
func (Unlisted) Progress(capture.Progress) {}

// Interfaces does nothing.
func (Unlisted) Interfaces(time.Duration, []source.Link) {}

// Upload does nothing.
func (Unlisted) Upload(deliver.Progress) {}

// File does nothing.
func (Unlisted) File(save.File) {}

// End does nothing and never fails.
func (Unlisted) End(*capture.Result, error) error { return nil }

// Abandon does nothing.
func (Unlisted) Abandon() {}
