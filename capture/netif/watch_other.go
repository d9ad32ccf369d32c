//go:build !linux

package netif

// Watch does not exist on this system: Open always fails.
type Watch struct{}

// Open always fails with ErrUnsupported.
func Open() (*Watch, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*Watch) Close() error { return nil }

// List always fails with ErrUnsupported.
func (*Watch) List() ([]Interface, error) { return nil, ErrUnsupported }

// Next always fails with ErrUnsupported.
func (*Watch) Next() (changed, removed []Interface, err error) { return nil, nil, ErrUnsupported }

// In calls fn in the current namespace, and always fails with ErrNoNamespaces for another
// namespace.
func In(ns string, fn func() error) error {
	if ns != "" {
		return ErrNoNamespaces
	}
	return fn()
}

// Namespace does not exist on this system.
type Namespace struct{}

// FindNamespace never finds one.
func FindNamespace(string) (*Namespace, bool) { return nil, false }

// Gone is never true.
func (*Namespace) Gone() bool { return false }

// Follower does not exist on this system.
type Follower struct{}

// Follow always fails with ErrUnsupported.
func (*Namespace) Follow(string) (*Follower, error) { return nil, ErrUnsupported }

// ErrFollowerEnded is never given on this system.
var ErrFollowerEnded = ErrUnsupported

// Wait always fails with ErrUnsupported.
func (*Follower) Wait() error { return ErrUnsupported }

// Close does nothing.
func (*Follower) Close() error { return nil }

// IsFollower is always false on this system.
func IsFollower() bool { return false }

// FollowMain does nothing.
func FollowMain() {}
