//go:build !linux

package caller

// Find finds nobody: on this system no user works with the rights of another.
func Find() (*User, error) { return nil, nil }

// Do runs do.
func (*User) Do(do func() error) error { return do() }

// Lower does nothing on this system.
func (*User) Lower() error { return nil }

// Raised runs do.
func (*User) Raised(do func() error) error { return do() }

// Restore does nothing on this system.
func (*User) Restore() error { return nil }

// GiveUp does nothing on this system.
func (*User) GiveUp() error { return nil }

// NotDumpable does nothing on this system.
func NotDumpable() error { return nil }
