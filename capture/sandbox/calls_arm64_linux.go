//go:build arm64

package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch    = unix.AUDIT_ARCH_AARCH64
	otherNumbers = 0 // there is one set of numbers
)

var forbiddenHere, forbiddenAloneHere []uint32
