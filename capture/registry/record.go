package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/source/live"
)

// recordVersion is the format that this program writes and the newest that it
// reads. Members may be added without a new one; it changes when an older
// program would misunderstand.
const recordVersion = 1

// Record is what is kept of a session. There is no secret in it.
type Record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`    // as it was given; the folder has it in lower case
	Created time.Time `json:"created"` // what {startTime} in the request stood for
	// PID and BootID are for people who look for the process in other logs.
	// Whether a session lives is told by its lock alone.
	PID         int            `json:"pid"`
	BootID      string         `json:"bootId"`
	Source      live.Options   `json:"source"`
	Output      request.Output `json:"output,omitzero"`
	FailOnDrops bool           `json:"failOnDrops,omitempty"`
	// Resource is as it was when the session was made until Outcome is there,
	// and from then on as it was in the end. The files and blobs of the session
	// are in its statistics.
	Resource *capture.Resource `json:"resource"`
	Outcome  *Outcome          `json:"outcome,omitempty"`
}

// Outcome is how a session ended. An empty Class is a complete capture.
type Outcome struct {
	Class   string `json:"class"` // the code of a capture.Class
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Target  string `json:"target,omitempty"`
}

// CodeAgentStopped is the API's word for a capture whose process ended before
// the capture did.
const CodeAgentStopped = "AgentStopped"

func outcomeOf(err error) *Outcome {
	if err == nil {
		return &Outcome{}
	}
	o := &Outcome{Class: fault.ClassOf(err).Code(), Message: err.Error()}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		o.Code, o.Message, o.Target = e.Code, e.Message, e.Target
	}
	o.Message = o.Message[:min(len(o.Message), maxMessage)]
	return o
}

// maxMessage bounds what an error adds to a record, for whose last version the
// space is set aside in the beginning.
const maxMessage = 4 << 10

// err is the error that the session ended with.
func (o *Outcome) err() error {
	if o.Class == "" {
		return nil
	}
	e := &fault.Error{Code: o.Code, Message: o.Message, Target: o.Target}
	for c := fault.Internal; c <= fault.Dropped; c++ {
		if c.Code() == o.Class {
			e.Class = c
		}
	}
	return e
}

func (rec *Record) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(rec)
	return b.Bytes(), err
}

// decodeRecord reads a record, which may be of another version of the program,
// or of none.
func decodeRecord(text []byte) (*Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("the record is damaged: %w", err)
	}
	if head.Version > recordVersion {
		return nil, fmt.Errorf("the record has format %d, and this pcapctl reads up to %d: use the newer pcapctl that wrote it", head.Version, recordVersion)
	}
	rec := &Record{}
	if err := json.Unmarshal(text, rec); err != nil {
		return nil, fmt.Errorf("the record is damaged: %w", err)
	}
	r := rec.Resource
	if rec.Version < 1 || rec.Name == "" || r == nil || r.Properties.Statistics == nil {
		return nil, errors.New("the record is damaged: members are missing")
	}
	if r.Properties.PacketCaptureError == nil {
		r.Properties.PacketCaptureError = []string{}
	}
	return rec, nil
}

// record reads the record in the folder. The error says what is wrong and what
// can be done.
func (f *folder) record() (*Record, error) {
	rec, err := f.readRecord()
	if err == nil && key(rec.Name) != f.name {
		err = fmt.Errorf("the record is that of another session, %q", rec.Name)
	}
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "session %q: %w; `pcapctl delete %s` removes the session and leaves its capture file", f.name, err, f.name)
	}
	return rec, nil
}

func (f *folder) readRecord() (*Record, error) {
	file, err := f.file(recordName, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	return decodeRecord(text)
}

// spareSize is how large the last version of a record may become. It has what
// the first has, counters with all their digits, an error, warnings, drops for each
// interface, the blob's URL twice more (as a blob, and as what was at fault), and
// the files of a ring.
func spareSize(rec *Record, size int) int64 {
	const counters, perInterface, warnings = 4 << 10, 64, 32 << 10
	size += counters + warnings + maxMessage + perInterface*len(rec.Resource.Properties.Statistics.Interfaces)
	if l := rec.Resource.Properties.StorageLocation; l != nil && l.StoragePath != nil {
		size += 2 * len(*l.StoragePath)
	}
	longest := 0
	for _, path := range rec.files() {
		longest = max(longest, len(path))
	}
	const perFile = 256 // of a ring, beside its path
	return int64(size) + ringCount(rec)*int64(perFile+longest)
}

// replace puts a new version of the record in the place of the old one. A
// reader sees either of them whole, also after the machine has lost power.
// spare is the file that was prepared for it, nil for none.
func replace(root *os.Root, spare *os.File, rec *Record) error {
	text, err := rec.encode()
	if err != nil {
		return err
	}
	if spare == nil {
		if spare, err = root.OpenFile(spareName, os.O_CREATE|os.O_WRONLY|openSafely, 0o600); err != nil {
			return err
		}
		defer func() { _ = spare.Close() }()
	}
	// The space is there already, so that this works on a full disk.
	if _, err := spare.WriteAt(text, 0); err != nil {
		return err
	}
	if err := spare.Truncate(int64(len(text))); err != nil {
		return err
	}
	// The bytes first, then the name: rename(2) alone may reach the disk
	// before what it names.
	if err := spare.Sync(); err != nil {
		return err
	}
	if err := root.Rename(spareName, recordName); err != nil {
		return err
	}
	return syncFolder(root)
}

func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || isInvalid(err) {
		err = nil // some file systems do not sync folders, and say so
	}
	return errors.Join(err, d.Close())
}

// files are the paths of the capture files.
func (rec *Record) files() []string {
	files := rec.Resource.Properties.Statistics.Files
	list := make([]string, len(files))
	for i, f := range files {
		list[i] = f.Path
	}
	return list
}

// Where names the capture files and blobs, for people.
func (rec *Record) Where() string {
	return rec.Resource.Properties.Statistics.Where()
}
