package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"

	"pcapctl/capture/testwine"
)

// What is published has what it should, the program says the version that it is published as, in its resource and by itself,
// and nothing is left beside the sources.
func TestRelease(t *testing.T) {
	r := release{version: "v7.8.9-rc.1", url: "https://example.com/releases/", out: t.TempDir()}
	if err := r.make(false); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.root, "cmd/pcapctl/*.syso")); left != nil {
		t.Errorf("left beside the sources: %v", left)
	}
	sums := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		data, err := os.ReadFile(filepath.Join(r.out, "pcapctl_7.8.9-rc.1_windows_"+arch+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		sums[arch] = fmt.Sprintf("%X", sha256.Sum256(data))
		files := unpack(t, data)
		for _, name := range []string{"LICENSE.txt", "README.md", "docs/windows.md", "docs/windows-acceptance.ps1", "docs/examples/request.json", "completion/pcapctl.ps1"} {
			if len(files[name]) == 0 {
				t.Errorf("%s: %s is missing", arch, name)
			}
			if n := bytes.Count(files[name], []byte("\n")); n != bytes.Count(files[name], []byte("\r\n")) {
				t.Errorf("%s: %s has not the line ends of Windows", arch, name)
			}
		}
		if !bytes.Contains(files["completion/pcapctl.ps1"], []byte("Register-ArgumentCompleter")) {
			t.Errorf("%s: not a completion for PowerShell", arch)
		}
		exe := files["pcapctl.exe"]
		checkResource(t, exe, map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64, "arm64": pe.IMAGE_FILE_MACHINE_ARM64}[arch])
		if arch == "amd64" {
			path := filepath.Join(t.TempDir(), "pcapctl.exe")
			if err := os.WriteFile(path, exe, 0o700); err != nil {
				t.Fatal(err)
			}
			out, err := testwine.New(t, exec.Command).Command(path, "version").Output()
			if err != nil || !strings.Contains(string(out), "v7.8.9-rc.1") {
				t.Errorf("pcapctl version: %v, %s", err, out)
			}
		}
	}
	checkWinget(t, filepath.Join(r.out, "winget/manifests/p/pcapctl/pcapctl/7.8.9-rc.1"), sums)
}

func TestVersionsThatAreRefused(t *testing.T) {
	for _, version := range []string{"", "1.2.3", "v1.2", "v1.2.3.4", "v70000.0.0", "v1.2.3-", "latest"} {
		r := release{version: version, out: t.TempDir()}
		if err := r.make(false); err == nil {
			t.Errorf("%q was taken", version)
		}
	}
}

func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range archive.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(in); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	return files
}

// checkResource reads the version resource out of a program: VS_FIXEDFILEINFO, and texts as UTF-16, each with its name before.
func checkResource(t *testing.T, exe []byte, machine uint16) {
	t.Helper()
	file, err := pe.NewFile(bytes.NewReader(exe))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != machine {
		t.Errorf("machine %#x instead of %#x", file.Machine, machine)
	}
	section := file.Section(".rsrc")
	if section == nil {
		t.Fatal("no resources")
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	fixed := bytes.Index(data, binary.LittleEndian.AppendUint32(nil, 0xfeef04bd))
	if fixed < 0 {
		t.Fatal("no version resource")
	}
	if got := fmt.Sprintf("%x", data[fixed+8:fixed+16]); got != "0800070000000900" {
		t.Errorf("the file's version is %s: four numbers of 16 bits, in the order 2, 1, 4, 3", got)
	}
	for name, want := range map[string]string{
		"ProductName": "pcapctl", "ProductVersion": "7.8.9-rc.1", "FileVersion": "7.8.9.0", "FileDescription": description,
		"LegalCopyright": copyright, "OriginalFilename": "pcapctl.exe",
	} {
		_, after, found := bytes.Cut(data, wide(name))
		after = bytes.TrimLeft(after, "\x00")
		if !found || !bytes.HasPrefix(after, wide(want)) {
			t.Errorf("%s is not %q in the resource", name, want)
		}
	}
}

// wide is a text as UTF-16 with its end.
func wide(s string) []byte {
	var b []byte
	for _, unit := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

func checkWinget(t *testing.T, dir string, sums map[string]string) {
	t.Helper()
	read := func(name string) map[string]any {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]any{}
		if err := yaml.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if m["PackageIdentifier"] != "pcapctl.pcapctl" || m["PackageVersion"] != "7.8.9-rc.1" || m["ManifestVersion"] != "1.6.0" {
			t.Errorf("%s: %v", name, m)
		}
		return m
	}
	read("pcapctl.pcapctl.yaml")
	read("pcapctl.pcapctl.locale.en-US.yaml")
	installers, _ := read("pcapctl.pcapctl.installer.yaml")["Installers"].([]any)
	if len(installers) != 2 {
		t.Fatalf("installers: %v", installers)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		one, _ := installers[i].(map[string]any)
		if one["InstallerSha256"] != sums[arch] || one["InstallerUrl"] != "https://example.com/releases/pcapctl_7.8.9-rc.1_windows_"+arch+".zip" {
			t.Errorf("%s: %v", arch, one)
		}
	}
}
