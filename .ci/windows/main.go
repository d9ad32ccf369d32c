// Command windows makes what is published for Windows: a zip for each processor with the program, the documentation and the
// completion for PowerShell, and the manifests by which winget finds it.
//
//	go run ./.ci/windows -version v1.2.3 -url https://example.com/releases/v1.2.3 -out dist
//
// With -resources it only writes the version resources that `go build` links into the program when they lie beside its
// source, for a release tool that builds by itself. They must not stay there: the next build would have their version, too.
package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

const (
	winres      = "github.com/tc-hib/go-winres@v0.3.3"
	description = "Packet captures with exact limits, in Azure Network Watcher's terms"
	copyright   = "Licensed under the Apache License 2.0"
)

func main() {
	var r release
	flag.StringVar(&r.version, "version", "", "version of the release, such as v1.2.3 or v1.3.0-rc.1")
	flag.StringVar(&r.url, "url", "", "address of the folder that the zips will be in; without it no winget manifests are made")
	flag.StringVar(&r.out, "out", "dist", "folder that is written to")
	resources := flag.Bool("resources", false, "only write the version resources, beside the source of the program")
	flag.Parse()
	log.SetFlags(0)
	if err := r.make(*resources); err != nil {
		log.Fatal("windows: ", err)
	}
}

// release is one version for Windows.
type release struct {
	version, url, out string
	root              string    // of the repository
	time              time.Time // of the commit: the same commit makes the same files
}

// versionForm is a version of Go modules: semver with a v. The numbers have to fit into 16 bits each, as Windows wants them.
var versionForm = regexp.MustCompile(`^v(\d{1,4})\.(\d{1,4})\.(\d{1,4})(-[0-9A-Za-z.-]+)?$`)

func (r *release) make(resourcesOnly bool) error {
	if !versionForm.MatchString(r.version) {
		return fmt.Errorf("-version %q: write it as v1.2.3 or v1.2.3-rc.1", r.version)
	}
	root, err := output("", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	r.root = root
	if resourcesOnly {
		return r.resources()
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return err
	}
	seconds, err := output(r.root, "git", "show", "-s", "--format=%cI", "HEAD")
	if err != nil {
		return err
	}
	if r.time, err = time.Parse(time.RFC3339, seconds); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "pcapctl-windows-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	defer r.removeResources()                                                     // before the first is written: some may be when another fails
	if err := errors.Join(os.MkdirAll(r.out, 0o755), r.resources()); err != nil { //nolint:gosec // G301: for everybody
		return err
	}
	completion, err := exec.Command("go", "-C", r.root, "run", "./cmd/pcapctl", "completion", "powershell").Output()
	if err != nil {
		return fmt.Errorf("pcapctl completion powershell: %w", err)
	}
	var installers []installer
	for _, arch := range []string{"amd64", "arm64"} {
		exe, err := r.build(work, arch)
		if err != nil {
			return fmt.Errorf("build for windows/%s: %w", arch, err)
		}
		one, err := r.pack(arch, exe, completion)
		if err != nil {
			return err
		}
		installers = append(installers, one)
	}
	if r.url == "" {
		return nil
	}
	return r.winget(installers)
}

// resources writes the version resources beside the source of the program.
func (r *release) resources() error {
	numbers := versionForm.FindStringSubmatch(r.version)
	for _, arch := range []string{"amd64", "arm64"} {
		// The four numbers of Windows say nothing of a release candidate; the text, which Explorer shows, does.
		text := strings.TrimPrefix(r.version, "v")
		_, err := output(r.root, "go", "run", winres, "simply", "--arch", arch, "--out", filepath.Join(r.root, "cmd", "pcapctl", "resource"), "--manifest", "none", "--icon", "",
			"--product-name", "pcapctl", "--original-filename", "pcapctl.exe", "--file-description", description, "--copyright", copyright,
			"--product-version", text, "--file-version", strings.Join(numbers[1:4], ".")+".0")
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *release) removeResources() {
	for _, arch := range []string{"amd64", "arm64"} {
		_ = os.Remove(filepath.Join(r.root, "cmd", "pcapctl", "resource_windows_"+arch+".syso"))
	}
}

// build makes the program, with the version resource that lies beside its source.
func (r *release) build(work, arch string) (string, error) {
	exe := filepath.Join(work, arch, "pcapctl.exe")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+r.version, "-o", exe, "./cmd/pcapctl")
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH="+arch, "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return exe, nil
}

// installer is a zip, as winget is told of it.
type installer struct {
	Architecture, File, SHA256 string
}

// pack makes a zip. Text files have the line ends of Windows: its older editor shows others in one line.
func (r *release) pack(arch, exe string, completion []byte) (installer, error) {
	files := map[string]string{"pcapctl.exe": exe, "LICENSE.txt": filepath.Join(r.root, "LICENSE"), "README.md": filepath.Join(r.root, "README.md")}
	docs := filepath.Join(r.root, "docs")
	err := filepath.WalkDir(docs, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(r.root, path)
		files[filepath.ToSlash(inside)] = path
		return err
	})
	if err != nil {
		return installer{}, err
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	add := func(name string, data []byte) error {
		if filepath.Ext(name) != ".exe" {
			data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		}
		w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: r.time})
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	for _, name := range names {
		data, err := os.ReadFile(files[name])
		if err := errors.Join(err, add(name, data)); err != nil {
			return installer{}, err
		}
	}
	if err := errors.Join(add("completion/pcapctl.ps1", completion), archive.Close()); err != nil {
		return installer{}, err
	}
	file := fmt.Sprintf("pcapctl_%s_windows_%s.zip", strings.TrimPrefix(r.version, "v"), arch)
	one := installer{Architecture: map[string]string{"amd64": "x64", "arm64": "arm64"}[arch], File: file, SHA256: fmt.Sprintf("%X", sha256.Sum256(out.Bytes()))}
	return one, os.WriteFile(filepath.Join(r.out, file), out.Bytes(), 0o644) //nolint:gosec // G306: for everybody
}

//go:embed winget.tmpl
var manifests string

// winget writes the three manifests of a version, in the folders of winget's repository.
func (r *release) winget(installers []installer) error {
	number := strings.TrimPrefix(r.version, "v")
	dir := filepath.Join(r.out, "winget", "manifests", "p", "pcapctl", "pcapctl", number)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // G301: for everybody
		return err
	}
	all, err := template.New("winget").Parse(manifests)
	if err != nil {
		return err
	}
	data := map[string]any{"Version": number, "URL": strings.TrimSuffix(r.url, "/"), "Date": r.time.UTC().Format(time.DateOnly), "Description": description, "Installers": installers}
	for name, file := range map[string]string{"version": "pcapctl.pcapctl.yaml", "installer": "pcapctl.pcapctl.installer.yaml", "locale": "pcapctl.pcapctl.locale.en-US.yaml"} {
		var text bytes.Buffer
		if err := all.ExecuteTemplate(&text, name, data); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), text.Bytes(), 0o644); err != nil { //nolint:gosec // G306: for everybody
			return err
		}
	}
	return nil
}

func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
