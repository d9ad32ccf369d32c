package testwine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long Wine may take for what it does within seconds, on a loaded machine.
	patience = 3 * time.Minute
	// install says how to get Wine.
	install = "needs wine and wineserver: apt install wine64 wine"
)

// Launcher makes a command that is not started yet: exec.Command, or the method Command of a testnet.NS.
type Launcher func(name string, args ...string) *exec.Cmd

// Prefix is a Windows of its own: a folder with its drive C: and its registry, and the server for its processes.
// Z: is the root folder of Linux.
type Prefix struct {
	folder string
	lock   *os.File // held while it is in use; left unlocked by a process that was killed
	launch Launcher
}

// New makes a Windows that ends with the test, and every program in it. launch is exec.Command where no namespace is used.
// Without Wine it skips the test and says what to install; in CI it fails.
func New(t testing.TB, launch Launcher) *Prefix {
	t.Helper()
	p, err := Start(launch)
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Start is New for programs. Its error wraps exec.ErrNotFound where Wine is not installed.
func Start(launch Launcher) (*Prefix, error) {
	for _, tool := range []string{"wine", "wineserver"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s (%w)", install, exec.ErrNotFound)
		}
	}
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	p := &Prefix{launch: launch}
	template, err := p.claim(cache)
	if err != nil {
		return nil, fmt.Errorf("make a Wine prefix: %w", err)
	}
	if err := copyTree(template, p.folder); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.serve(); err != nil {
		return nil, errors.Join(fmt.Errorf("start Wine: %w", err), p.Close())
	}
	return p, nil
}

// cacheFolder is where everything is that is kept.
func cacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "pcapctl-testwine")
	return cache, os.MkdirAll(cache, 0o700)
}

// claim makes the folder of a prefix, and the locked file beside it, and the template if there is none.
func (p *Prefix) claim(cache string) (template string, err error) {
	lock, err := locked(filepath.Join(cache, "lock"), 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	sweep(cache)
	if template, err = makeTemplate(cache); err != nil {
		return "", err
	}
	if p.folder, err = os.MkdirTemp(cache, "prefix-"); err != nil {
		return "", err
	}
	p.lock, err = locked(p.folder+".lock", 0)
	return template, err
}

// serve starts the server, which is ready when the command ends that has started it, and waits until a program has run.
func (p *Prefix) serve() error {
	if err := bounded(p.prepare(p.launch("wineserver", "-p"))); err != nil {
		return err
	}
	return bounded(p.Command(`C:\windows\system32\cmd.exe`, "/c", "exit 0"))
}

// Command is a command that runs a Windows program. name is a path of either system.
func (p *Prefix) Command(name string, args ...string) *exec.Cmd {
	cmd := p.prepare(p.launch("wine", append([]string{name}, args...)...))
	// Programs that Wine itself starts beside this one, and live longer, have its pipes, too: Wait would wait for them.
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// prepare puts the settings of Wine into the environment of a command.
func (p *Prefix) prepare(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Environ(), environment(p.folder)...)
	return cmd
}

func environment(folder string) []string {
	// No display, no messages of Wine itself, none of the parts that ask to be installed, and no entries in a menu.
	return []string{"WINEPREFIX=" + folder, "WINEDEBUG=-all", "DISPLAY=", "WAYLAND_DISPLAY=", "WINEDLLOVERRIDES=mscoree,mshtml=;winemenubuilder.exe=d"}
}

// C is the path on Linux of a path on drive C:, such as `Captures\web.cap`.
func (p *Prefix) C(path string) string {
	return filepath.Join(p.folder, "drive_c", filepath.FromSlash(strings.ReplaceAll(path, `\`, "/")))
}

// Z is the path on Windows of an absolute path on Linux.
func Z(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// Close ends every program of the prefix, however stuck it is, and removes its files.
func (p *Prefix) Close() error {
	// -k ends all programs, by SIGKILL if need be, and fails when there is no server. -w waits for the end of one.
	_ = bounded(p.prepare(exec.Command("wineserver", "-k")))
	err := bounded(p.prepare(exec.Command("wineserver", "-w")))
	return errors.Join(err, os.RemoveAll(p.folder), p.lock.Close(), os.Remove(p.lock.Name()))
}

// bounded runs a command, and ends it when it takes too long.
func bounded(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

// makeTemplate makes the prefix that others are copies of, once for each version of Wine: it takes ten seconds.
func makeTemplate(cache string) (string, error) {
	version, err := exec.Command("wine", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("wine --version: %w", err)
	}
	// The number counts the ways in which this function has made them.
	template := filepath.Join(cache, fmt.Sprintf("template-1-%x", strings.TrimSpace(string(version))))
	if _, err := os.Stat(template); !errors.Is(err, fs.ErrNotExist) {
		return template, err
	}
	fresh := template + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	for _, command := range [][]string{{"wine", "wineboot", "--init"}, {"wineserver", "-k"}} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = append(cmd.Environ(), environment(fresh)...)
		if err := bounded(cmd); err != nil && command[0] == "wine" { // the server may have ended already
			return "", err
		}
	}
	// Documents and others are links to the user's home.
	users, err := filepath.Glob(filepath.Join(fresh, "drive_c/users/*/*"))
	if err != nil {
		return "", err
	}
	for _, path := range users {
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				return "", err
			}
		}
	}
	// Go's programs want a DLL that Wine has from version 9 on. ProcessPrng has the same parameters as what it is sent to.
	missing := filepath.Join(fresh, "drive_c/windows/system32/bcryptprimitives.dll")
	if _, err := os.Stat(missing); errors.Is(err, fs.ErrNotExist) {
		dll := forwarder("bcryptprimitives.dll", "ProcessPrng=advapi32.SystemFunction036")
		if err := os.WriteFile(missing, dll, 0o600); err != nil {
			return "", err
		}
	}
	return template, os.Rename(fresh, template)
}

// sweep removes the prefixes of processes that were killed. The caller holds the lock of the cache.
func sweep(cache string) {
	locks, _ := filepath.Glob(filepath.Join(cache, "prefix-*.lock"))
	for _, path := range locks {
		lock, err := locked(path, unix.LOCK_NB)
		if err != nil {
			continue // in use
		}
		folder := strings.TrimSuffix(path, ".lock")
		cmd := exec.Command("wineserver", "-k")
		cmd.Env = append(cmd.Environ(), environment(folder)...)
		_ = bounded(cmd) // fails when the server has ended
		_, _, _ = os.RemoveAll(folder), os.Remove(path), lock.Close()
	}
}

// locked opens a file and locks it. A process that ends lets go of the lock.
func locked(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|how); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// copyTree makes a copy that shares the files on drive C:, of which Wine writes none in place, and has its own of all else.
func copyTree(from, to string) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	return fs.WalkDir(source.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		target := filepath.Join(to, path)
		switch {
		case err != nil || path == ".":
			return err
		case entry.IsDir():
			return os.Mkdir(target, 0o700)
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := source.Readlink(path)
			return errors.Join(err, os.Symlink(link, target)) //nolint:gosec // G122: the folder that it is made in is private
		case strings.HasPrefix(path, "drive_c/"):
			return os.Link(filepath.Join(from, path), target)
		}
		data, err := source.ReadFile(path)
		return errors.Join(err, os.WriteFile(target, data, 0o600))
	})
}
