package hostcontext_test

import (
	"os"
	"testing"

	"pcapctl/capture/hostcontext"
	"pcapctl/capture/sandbox"
)

// The tests' program is the process that samples, when it is started as that.
func TestMain(m *testing.M) {
	if hostcontext.IsHelper() {
		hostcontext.Main(sandbox.Observe)
		return
	}
	if program() {
		return
	}
	os.Exit(m.Run())
}
