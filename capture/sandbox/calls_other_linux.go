//go:build !amd64 && !arm64

package sandbox

const (
	auditArch    = 0 // its calls are not filtered
	otherNumbers = 0
)

var forbiddenHere, forbiddenAloneHere []uint32
