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
	"pcapctl/storage/private"
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
	// Whether a session runs is told by its lock alone.
	PID         int               `json:"pid"`
	BootID      string            `json:"bootId"`
	Source      live.Options      `json:"source"`
	Output      request.Output    `json:"output,omitzero"`
	Additions   request.Additions `json:"additions,omitzero"`
	Limits      request.Limits    `json:"limits,omitzero"`
	FailOnDrops bool              `json:"failOnDrops,omitempty"`
	// Resource is as the session was made, and once there is an Outcome, as the
	// session ended. Its files and blobs are in the statistics.
	Resource *capture.Resource `json:"resource"`
	// Outcome is nil until the session has ended.
	Outcome *fault.Report `json:"outcome,omitempty"`
}

// CodeAgentStopped is the API's code for a capture whose process ended before
// the capture did.
const CodeAgentStopped = "AgentStopped"

// outcomeOf reports the end of a session. It is bounded, because the space for
// the last version of a record is reserved when the session begins. The faults
// of a request, which Details list, are found before there is a session.
func outcomeOf(err error) *fault.Report {
	o := fault.ReportOf(err)
	o.Message, o.Details = o.Message[:min(len(o.Message), maxMessage)], nil
	return &o
}

// maxMessage is how many bytes of an error's message a record keeps.
const maxMessage = 4 << 10

func (rec *Record) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(rec)
	return b.Bytes(), err
}

// decodeRecord reads a record of any bytes: it may be of another version of the
// program, damaged, or forged.
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
	r.AsPrinted()
	return rec, nil
}

// record reads the record in the folder. The error says what is wrong and what
// can be done.
func (f *folder) record() (*Record, error) {
	rec, err := f.readRecord()
	if err == nil && folderName(rec.Name) != f.name {
		err = fmt.Errorf("the record is that of another session, %q", rec.Name)
	}
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "session %q: %w; `pcapctl delete %s` removes the session and leaves its capture file", f.name, err, f.name)
	}
	return rec, nil
}

func (f *folder) readRecord() (*Record, error) {
	file, err := f.file(recordName, os.O_RDONLY, maxRecord)
	if err != nil {
		return nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	return decodeRecord(text)
}

// spareSize is how many bytes the last version of a record may have, if the first
// has size bytes. It has what the first has, counters with all their digits, an
// error, warnings, drops for each interface, the blob's URL twice more (as a
// blob, and as the target of an error), and the files of a rotation.
func spareSize(rec *Record, size int) int64 {
	const counters, perInterface, warnings, gaps = 4 << 10, 64, 32 << 10, 20 << 10
	size += counters + warnings + gaps + maxMessage + perInterface*len(rec.Resource.Properties.Statistics.Interfaces)
	if l := rec.Resource.Properties.StorageLocation; l != nil && l.StoragePath != nil {
		size += 2 * len(*l.StoragePath)
	}
	if c := rec.Resource.Properties.Statistics.Context; c != nil {
		size += 4*len(c.Path) + 256 // its blob, and what may be said of it
	}
	longest := 0
	for _, path := range rec.files() {
		longest = max(longest, len(path))
	}
	const perFile = 256 // of a rotation, beside its path
	return int64(size) + rotationCount(rec)*int64(perFile+longest)
}

// rewrite replaces the record by a new version. There is space for it if the
// session's process did not write its own last version.
func (f *folder) rewrite(rec *Record) error {
	spare, err := f.file(spareName, os.O_WRONLY, maxRecord)
	if err != nil {
		_ = f.root.Remove(spareName)
		spare, err = private.Create(f.root, spareName, os.O_WRONLY|withinSafely)
	}
	if err != nil {
		return err
	}
	defer func() { _ = spare.Close() }()
	return replace(f.root, spare, rec)
}

// replace writes a new version of the record into the file spare and gives that
// the place of the old version. A reader sees one of the two completely, also
// after the machine has lost power.
func replace(root *os.Root, spare *os.File, rec *Record) error {
	text, err := rec.encode()
	if err != nil {
		return err
	}
	if _, err := spare.WriteAt(text, 0); err != nil {
		return err
	}
	if err := spare.Truncate(int64(len(text))); err != nil {
		return err
	}
	// The bytes first, then the name: a rename may reach the disk before the bytes
	// of the file that it names.
	if err := spare.Sync(); err != nil {
		return err
	}
	if err := renameIn(root, spareName, recordName); err != nil {
		return err
	}
	return syncFolder(root)
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
