package inspect

import "pcapctl/capture/fault"

// visible makes a name from a packet safe for a terminal. It is the one place where this
// package does so.
func visible(name string) string { return fault.Quote(name) }
