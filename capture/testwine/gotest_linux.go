package testwine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Flags are what `go test` needs to run tests for Windows: the running program as what executes them, and an overlay over
// one line of the standard library. Go removes files by a call that Wine 8 does not have (FileDispositionInformationEx), and falls
// back to the one for older systems only for errors that a Windows gives. With the line, it does so at once.
func Flags() ([]string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(self) // go run removes its own in the end
	if err != nil {
		return nil, err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src/internal/syscall/windows/at_windows.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return nil, err
	}
	const line = "\nvar TestDeleteatFallback"
	if bytes.Count(source, []byte(line+" bool\n")) != 1 {
		return nil, fmt.Errorf("%s has no line %q: see what has become of it", original, line)
	}
	source = bytes.Replace(source, []byte(line+" bool\n"), []byte(line+" = true\n"), 1)
	changed, overlay, run := filepath.Join(cache, "at_windows.go"), filepath.Join(cache, "overlay.json"), filepath.Join(cache, "winerun")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	err = errors.Join(err, replaceFile(changed, source, 0o600), replaceFile(overlay, replace, 0o600), replaceFile(run, program, 0o700))
	return []string{"-overlay=" + overlay, "-exec=" + run}, err
}

// replaceFile writes a file in one step, while others may be using the one before.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		return nil
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	_, err = fresh.Write(data)
	return errors.Join(err, fresh.Chmod(mode), fresh.Close(), os.Rename(fresh.Name(), path))
}

// Main runs a Windows program for `go test -exec`, in a prefix of its own, and returns its exit code: 125 when Wine
// failed, 124 when the program was ended because it took longer than limit.
func Main(ctx context.Context, limit time.Duration, args []string, stdin, stdout, stderr *os.File) (int, error) {
	p, err := Start(exec.Command)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		_, err := fmt.Fprintf(stdout, "--- SKIP: %s (%s)\nPASS\n", filepath.Base(args[0]), install)
		return 0, err
	}
	if err != nil {
		return 125, err
	}
	cmd := p.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if err := cmd.Start(); err != nil {
		return 125, errors.Join(err, p.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	intime := stop()
	closed := p.Close()
	exit := (*exec.ExitError)(nil)
	switch {
	case !intime:
		return 124, errors.Join(fmt.Errorf("%s was ended after %v", args[0], limit), closed)
	case errors.As(err, &exit):
		return exit.ExitCode(), closed
	case err != nil || closed != nil:
		return 125, errors.Join(err, closed)
	}
	return 0, nil
}
