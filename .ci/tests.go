// Command tests is `go test` for .ci/run: it prints what go test prints, and adds a line for each test that was skipped,
// with its reason, to the file that the environment variable SKIPPED names.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "tests:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

func run(args []string) error {
	skipped, err := os.OpenFile(os.Getenv("SKIPPED"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("SKIPPED must name a file: %w", err)
	}
	defer skipped.Close()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := map[[2]string]*strings.Builder{} // of the tests that run
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := [2]string{e.Package, e.Test}
		switch {
		case e.Output == "PASS\n" && e.Test == "": // go test says "ok"
		case e.Output != "" && e.Test == "":
			fmt.Print(e.Output)
		case e.Output != "":
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
		case e.Test == "" || said[key] == nil:
		case e.Action == "fail":
			fmt.Print(said[key])
			delete(said, key)
		case e.Action == "skip":
			fmt.Fprintf(skipped, "%s %s: %s\n", e.Package, e.Test, reason(said[key].String()))
			delete(said, key)
		case e.Action == "pass":
			delete(said, key)
		}
	}
	return errors.Join(lines.Err(), cmd.Wait())
}

// reason is what a skipped test has said, without the lines of the test program itself.
func reason(output string) string {
	var kept []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			kept = append(kept, line)
		}
	}
	if kept == nil {
		return "no reason given"
	}
	return strings.Join(kept, " ")
}
