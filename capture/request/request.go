// Package request turns text into a valid Config and back: it reads the body of
// the API's request, validates it, fills in defaults, and reports all faults at
// once. It knows no machine: paths, names and addresses are text, and nothing is
// opened or looked up.
package request

import "pcapctl/filter"

// Request is the body of the API's PUT, as written: pure data, nothing
// checked, a nil pointer for every member that was absent. Decode makes one from
// JSON, the command line fills one from flags, and NewConfig turns either into a
// Config.
type Request struct {
	// Name is not a member of the API's request body (there it is the last
	// segment of the URL), but it is one of the resource that create and show
	// print, which is accepted back as a request.
	Name       *string     `json:"name,omitempty"`
	Properties *Properties `json:"properties,omitempty"`

	// Notes are sentences about how the text was read where it was not a request
	// as it should be. NewConfig puts them among its warnings.
	Notes []string `json:"-"`
}

// Properties are the members of the request proper, in the order in which the
// service prints them. Numbers have the width of the published definition; their
// bounds are NewConfig's business.
type Properties struct {
	Target     *string `json:"target,omitempty"`
	Scope      *Scope  `json:"scope,omitempty"`
	TargetType *string `json:"targetType,omitempty"`

	BytesToCapturePerPacket *int64 `json:"bytesToCapturePerPacket,omitempty"`
	TotalBytesPerSession    *int64 `json:"totalBytesPerSession,omitempty"`
	TimeLimitInSeconds      *int64 `json:"timeLimitInSeconds,omitempty"`

	StorageLocation *StorageLocation `json:"storageLocation,omitempty"`

	// ContinuousCapture switches the mode by being there at all: absent or
	// null is the classic capture, true a rotation of files, false one file.
	ContinuousCapture *bool            `json:"continuousCapture,omitempty"`
	CaptureSettings   *CaptureSettings `json:"captureSettings,omitempty"`

	// Filters is nil when absent or null; both mean "everything", as does [],
	// which is how the resource prints it.
	Filters []filter.Spec `json:"filters,omitzero"`
}

// Scope narrows a capture on a scale set to some of its instances. It means
// nothing for a single VM and is accepted only when empty.
type Scope struct {
	Include []string `json:"include"`
	Exclude []string `json:"exclude"`
}

// StorageLocation says where the capture goes. At least one of StorageID and
// FilePath (LocalPath in continuous mode) is needed; with both, the capture is
// saved in both places. An empty string is the same as an absent member: the
// service prints "storagePath": "" and clients send it back.
type StorageLocation struct {
	StorageID   *string `json:"storageId,omitempty"`
	StoragePath *string `json:"storagePath,omitempty"`
	FilePath    *string `json:"filePath,omitempty"`
	LocalPath   *string `json:"localPath,omitempty"`
}

// CaptureSettings belong to continuous mode. Each has a default of its own.
type CaptureSettings struct {
	FileCount                 *int64 `json:"fileCount,omitempty"`
	FileSizeInBytes           *int64 `json:"fileSizeInBytes,omitempty"`
	SessionTimeLimitInSeconds *int64 `json:"sessionTimeLimitInSeconds,omitempty"`
}
