// Command winerun runs a test program for Windows by Wine, for `go test -exec`, and ends with its exit code. Without arguments
// it prints the flags that go test needs, itself among them: see docs/contributing.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"pcapctl/capture/testwine"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) //nolint:forbidigo // it hands out the streams
}

func run(args []string, stdin, stdout, stderr *os.File) int {
	if len(args) == 0 {
		flags, err := testwine.Flags()
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "winerun:", err)
			return 1
		}
		_, _ = fmt.Fprintln(stdout, strings.Join(flags, " "))
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	code, err := testwine.Main(ctx, limit(args[1:]), args, stdin, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "winerun:", err)
	}
	return code
}

// limit is how long the program may run: half a minute longer than the time after which a test program ends itself.
func limit(args []string) time.Duration {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "-test.timeout="); ok {
			if d, err := time.ParseDuration(value); err == nil && d > 0 {
				return d + 30*time.Second
			}
		}
	}
	return time.Hour
}
