//go:build !linux

package sandbox

// Supported tells whether a process can give up anything.
const Supported = false

// Enter gives up nothing on this system.
func Enter(Policy) (Level, error) { return Level{}, nil }

// Expect is what Enter gives on this system.
func Expect(Policy) Level { return Level{} }

// Settle does nothing on this system.
func (p *Policy) Settle() {}

// Guard does nothing on this system.
func Guard() error { return nil }

// Observe gives nothing up.
func Observe() error { return nil }

// LookAtOthers does nothing on this system.
func LookAtOthers() error { return nil }

// StartCommands does nothing on this system.
func StartCommands() error { return nil }

// KeepDescriptors does nothing on this system, where nothing is inherited unasked.
func KeepDescriptors() {}
