package request

import (
	"strings"
	"testing"
)

func resolve(h Host, session, given string) (string, []string) {
	v := &validator{host: h.withDefaults(), session: session}
	_, path, faults := v.file(given)
	return path, faults
}

func TestFilePath(t *testing.T) {
	linux := testHost()
	elsewhere := linux
	elsewhere.CapturesDir = "/srv//caps/"
	root := linux
	root.CapturesDir = "/"
	relative := linux
	relative.CapturesDir = "caps"
	odd := linux
	odd.CapturesDir = "/srv/\ufffe"
	windows := Host{GOOS: "windows", Name: "WEB01", Now: testNow}
	kept := windows
	kept.CapturesDir = `c:\Captures\`
	long := strings.Repeat("n", 252)
	tests := []struct {
		name  string
		host  Host
		given string
		want  string   // the path, or
		fault []string // a part of each fault
	}{
		{"as it is", linux, "/var/captures/x.cap", "/var/captures/x.cap", nil},
		{"pcap stays", linux, "/var/captures/x.PCAP", "/var/captures/x.PCAP", nil},
		{"extension added", linux, "/var/captures/x", "/var/captures/x.cap", nil},
		{"another extension is a part of the name", linux, "/var/captures/web01.example.com", "/var/captures/web01.example.com.cap", nil},
		{"dot at the end", linux, "/var/captures/x.", "/var/captures/x.cap", nil},
		{"hidden", linux, "/var/captures/.x", "/var/captures/.x.cap", nil},
		{"cleaned", linux, "/var//./captures/a/./x", "/var/captures/a/x.cap", nil},
		{"another folder", elsewhere, "/srv/caps/x", "/srv/caps/x.cap", nil},
		{"everywhere", root, "/x", "/x.cap", nil},
		{"letters of the world", linux, "/var/captures/größe 1", "/var/captures/größe 1.cap", nil},
		{"placeholders", linux, "/var/captures/{HOSTNAME}/{packetCaptureName}-{starttime}", "/var/captures/web01.example/pc1-20310203T140506.789Z.cap", nil},
		{"longest name", linux, "/var/captures/" + long[:251], "/var/captures/" + long[:251] + ".cap", nil},

		{"unknown placeholder", linux, "/var/captures/{packetCapturenName}", "", []string{"{packetCapturenName} is not filled in; the nearest known is {packetCaptureName}"}},
		{"nothing like it", linux, "/var/captures/{subscriptionId}", "", []string{"{subscriptionId} is not filled in; known are {packetCaptureName}, {hostname} and {startTime}"}},
		{"empty placeholder", linux, "/var/captures/{}", "", []string{"{} is not filled in", "is a folder"}},
		{"open brace", linux, "/var/captures/{hostname", "", []string{"a brace without its counterpart"}},
		{"nested braces", linux, "/var/captures/{{hostname}}", "", []string{"a brace without its counterpart"}},
		{"two of them and the folder", linux, "/var/{foo}/{bar}", "", []string{"{foo} is not", "{bar} is not", "does not lie under"}},

		{"windows", linux, `C:\Captures\a\x.cap`, "", []string{`"C:\Captures\a\x.cap" is a Windows path and this machine runs Linux: write "/var/captures/a/x.cap"`}},
		{"windows with slashes", linux, "d:/temp/x", "", []string{`write "/var/captures/temp/x.cap"`}},
		{"windows with a placeholder", linux, `d:\capture\{packetCaptureName}`, "", []string{`write "/var/captures/{packetCaptureName}.cap"`}},
		{"windows drive alone", linux, `d:x.cap`, "", []string{`write "/var/captures/x.cap"`}},
		{"mangled", linux, `\var\captures\x`, "", []string{`has backslashes, as Windows writes paths, and this machine runs Linux: write "/var/captures/x.cap"`}},
		{"one backslash", linux, `/var/captures\x`, "", []string{`write "/var/captures/x.cap"`}},
		{"share", linux, `\\server\share\x`, "", []string{`write "/var/captures/server/share/x.cap"`}},
		{"backslash below another folder", elsewhere, `/srv/caps/a\b.cap`, "", []string{`write "/srv/caps/a/b.cap"`}},
		{"backslash in the folder", elsewhere, `/srv\caps\b`, "", []string{`write "/srv/caps/b.cap"`}},
		{"windows, of another folder", elsewhere, `C:\Srv\caps\a\b.cap`, "", []string{`write "/srv/caps/a/b.cap"`}},
		{"windows, of the end of another folder", elsewhere, `D:\caps\b.cap`, "", []string{`write "/srv/caps/b.cap"`}},
		{"windows, everywhere", root, `C:\a\b.cap`, "", []string{`write "/a/b.cap"`}},
		{"the name of the folder", elsewhere, `D:\caps`, "", []string{`write "/srv/caps/caps.cap"`}},
		{"the folder without its first slash", elsewhere, "srv/caps/a/b.cap", "", []string{`lacks its first slash: write "/srv/caps/a/b.cap"`}},
		{"relative to a parent", elsewhere, "caps/b.cap", "/srv/caps/caps/b.cap", nil},
		{"windows: the folder without a drive", windows, `\Captures\a\x`, "", []string{`write "C:\Captures\a\x.cap"`}},
		{"URI", linux, "https://a.blob.core.windows.net/c/b.cap", "", []string{"is a URI and not a path: a blob goes into storagePath"}},

		{"relative", linux, "x", "/var/captures/x.cap", nil},
		{"relative below", linux, "./a/x.pcap", "/var/captures/a/x.pcap", nil},
		{"relative, a placeholder", linux, "{packetCaptureName}", "/var/captures/pc1.cap", nil},
		{"relative and out", linux, "../x", "", []string{`has ".." in it`}},
		{"relative, a folder", linux, "a/", "", []string{"is a folder"}},
		{"without the first slash", linux, "var/captures/x.cap", "", []string{`lacks its first slash: write "/var/captures/x.cap"`}},
		{"home", linux, "~/x", "", []string{`"/var/captures/x.cap"`}},
		{"way out", linux, "/var/captures/../../etc/passwd", "", []string{`has ".." in it, which a path may not have: write it without, below "/var/captures"`}},
		{"way out and back", linux, "/var/captures/a/../x", "", []string{`has ".." in it`}},
		{"dots in a name", linux, "/var/captures/a..b", "/var/captures/a..b.cap", nil},
		{"elsewhere", linux, "/tmp/x", "", []string{`"/tmp/x" does not lie under the captures folder "/var/captures": write "/var/captures/x.cap", or name another captures folder with --captures-dir "/tmp"`}},
		{"neighbour", linux, "/var/captures2/x", "", []string{"does not lie under"}},
		{"letter case counts", linux, "/var/Captures/x", "", []string{"does not lie under"}},
		{"the folder itself", linux, "/var/captures", "", []string{`"/var/captures" is a folder: write a file's name behind it, such as "/var/captures/x.cap"`}},
		{"a folder in it", linux, "/var/captures/a/", "", []string{`such as "/var/captures/a/x.cap"`}},
		{"a dot at the end of the way", linux, "/var/captures/a/.", "", []string{"is a folder"}},
		{"root", linux, "/", "", []string{"is a folder"}},
		{"pcapng", linux, "/var/captures/x.pcapNG", "/var/captures/x.pcapNG", nil},
		{"compressed", linux, "/var/captures/x.cap.zst", "/var/captures/x.cap.zst", nil},
		{"compressed, extension added", linux, "/var/captures/x.GZ", "/var/captures/x.cap.GZ", nil},
		{"compressed nothing", linux, "/var/captures/.cap.gz", "", []string{"is not a valid name of a file"}},
		{"not yet pcapng", linux, "/var/captures/x.ntar", "", []string{"write .pcapng"}},
		{"extension alone", linux, "/var/captures/.cap", "", []string{`".cap" is not a valid name of a file`}},
		{"dots alone", linux, "/var/captures/...", "", []string{"is not a valid name of a file"}},
		{"NUL", linux, "/var/captures/x\x00.cap", "", []string{"U+0000"}},
		{"backslashes that JSON read", linux, "d:\temp\new", "", []string{"if backslashes were meant, JSON writes each of them twice"}},
		{"noncharacter", linux, "/var/captures/x\uffff", "", []string{"U+FFFF"}},
		{"noncharacter of another plane", linux, "/var/captures/x\U0001fffe", "", []string{"U+1FFFE"}},
		{"noncharacter of a block", linux, "/var/captures/x\ufdd0", "", []string{"U+FDD0"}},
		{"noncharacter in the folder", odd, "x", "", []string{"U+FFFE"}},
		{"unassigned yet", linux, "/var/captures/x\U0003fffd", "/var/captures/x\U0003fffd.cap", nil},
		{"right to left", linux, "/var/captures/x\u202epac.exe", "", []string{"U+202E"}},
		{"space at an end", linux, " /var/captures/x", "", []string{"begins or ends with white space"}},
		{"name too long", linux, "/var/captures/" + long, "", []string{"has 256 bytes; allowed: up to 255"}},
		{"path too long", linux, "/var/captures" + strings.Repeat("/nnnnnnn", 512), "", []string{"bytes; allowed: up to 4095"}},
		{"captures folder set wrong", relative, "/var/captures/x", "", []string{`the captures folder of this host's settings, "caps", is not an absolute path`}},

		{"windows: as it is", windows, `C:\Captures\x.cap`, `C:\Captures\x.cap`, nil},
		{"windows: extension, slashes, letter case", windows, `c:/captures/./a//x`, `C:\Captures\a\x.cap`, nil},
		{"windows: placeholders", windows, `C:\Captures\{hostname}-{startTime}`, `C:\Captures\WEB01-20310203T140506.789Z.cap`, nil},
		{"windows: linux path", windows, "/var/captures/x", "", []string{`has no drive, as on Linux, and this machine runs Windows: write "C:\Captures\x.cap"`}},
		{"windows: share", windows, `\\server\share\x`, "", []string{"a network share or a device"}},
		{"windows: device path", windows, `\\.\pipe\x`, "", []string{"a network share or a device"}},
		{"windows: relative", windows, `a\x`, `C:\Captures\a\x.cap`, nil},
		{"windows: relative to a drive", windows, `C:x`, "", []string{`"C:\Captures\x.cap"`}},
		{"windows: way out", windows, `C:\Captures\..\x`, "", []string{`has ".." in it`}},
		{"windows: elsewhere", windows, `d:/a\x`, `d:\a\x.cap`, nil},
		{"windows: neighbour", windows, `C:\Captures2\x`, `C:\Captures2\x.cap`, nil},
		{"windows: a drive's own folder", windows, `D:\x`, `D:\x.cap`, nil},
		{"windows: elsewhere, a folder", windows, `D:\a\`, "", []string{"is a folder"}},
		{"windows: elsewhere, way out", windows, `D:\a\..\x`, "", []string{`has ".." in it`}},
		{"windows: elsewhere, a device for a folder", windows, `D:\aux\x`, "", []string{"name of a device"}},
		{"windows: elsewhere than the settings say", kept, `D:\Captures\x`, "", []string{`does not lie under the captures folder "c:\Captures": write "c:\Captures\x.cap"`}},
		{"windows: neighbour of the folder of the settings", kept, `c:\Captures2\x`, "", []string{"does not lie under"}},
		{"windows: in the folder of the settings", kept, `c:\captures\a\x`, `c:\Captures\a\x.cap`, nil},
		{"windows: settings with a share", Host{GOOS: "windows", CapturesDir: `\\server\c`, Now: testNow}, `x`, "", []string{`settings, "\\server\c", is not an absolute path`}},
		{"windows: settings without a drive", Host{GOOS: "windows", CapturesDir: `\c`, Now: testNow}, `x`, "", []string{`settings, "\c", is not an absolute path`}},
		{"windows: settings with a device", Host{GOOS: "windows", CapturesDir: `C:\nul`, Now: testNow}, `x`, "", []string{`"nul" is the name of a device`}},
		{"windows: settings with a dot at the end", Host{GOOS: "windows", CapturesDir: `C:\a.`, Now: testNow}, `x`, "", []string{"which Windows takes away"}},
		{"windows: folder", windows, `C:\Captures\`, "", []string{"is a folder"}},
		{"windows: folder below", windows, `C:\Captures\a\`, "", []string{`such as "C:\Captures\a\x.cap"`}},
		{"windows: drive", windows, `C:\`, "", []string{"is a folder"}},
		{"windows: character", windows, `C:\Captures\a?b`, "", []string{"no file's name on Windows may hold"}},
		{"windows: stream", windows, `C:\Captures\a:b`, "", []string{"behind which Windows sees a stream"}},
		{"windows: dot at the end", windows, `C:\Captures\a.\x`, "", []string{"which Windows takes away"}},
		{"windows: stream of the only name", windows, `a:b`, "", []string{"is a relative path"}},
		{"windows: stream of a longer name", windows, `ab:c`, "", []string{`"ab:c" has a colon`}},
		{"windows: space at the end of a folder", windows, `C:\Captures\a \x`, "", []string{"which Windows takes away"}},
		{"windows: device behind spaces", windows, `C:\Captures\nul  .txt`, "", []string{"name of a device"}},
		{"windows: console", windows, `C:\Captures\CONOUT$`, "", []string{`such as "x-CONOUT$"`}},
		{"windows: superscript", windows, `C:\Captures\LPT².cap`, "", []string{"name of a device"}},
		{"windows: share with all that no name may hold", windows, `\\nul\a?b. \*\c:d`, "", []string{`write "C:\Captures\x-nul\ab\cd.cap"`}},
		{"windows: path for the kernel", windows, `\\?\C:\Captures\x`, "", []string{`write "C:\Captures\`}},
		{"windows: a name of many bytes", windows, `C:\Captures\` + strings.Repeat("ж", 251), `C:\Captures\` + strings.Repeat("ж", 251) + ".cap", nil},
		{"windows: a name of too many pairs", windows, `C:\Captures\` + strings.Repeat("😀", 128), "", []string{"has 260 characters; allowed: up to 255"}},
		{"windows: device", windows, `C:\Captures\Nul.cap`, "", []string{"name of a device"}},
		{"windows: device of a folder", windows, `C:\Captures\com1\x`, "", []string{"name of a device"}},
		{"windows: no device", windows, `C:\Captures\console`, `C:\Captures\console.cap`, nil},
		{"windows: URI", windows, `https://a/c/b`, "", []string{"is a URI"}},
		{"windows: pcapng", windows, `C:\Captures\x.pcapng`, `C:\Captures\x.pcapng`, nil},
		{"windows: too long", windows, `C:\Captures\` + long, "", []string{"has 256 characters"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, faults := resolve(tt.host, "pc1", tt.given)
			if got != tt.want || len(faults) != len(tt.fault) {
				t.Fatalf("got %q, %q", got, faults)
			}
			for i, part := range tt.fault {
				if !strings.Contains(faults[i], part) {
					t.Errorf("got %s\nwant %s", faults[i], part)
				}
				// What a message says to write is accepted.
				if _, cure, ok := strings.Cut(faults[i], `write "`); ok {
					cure, _, _ = strings.Cut(cure, `"`)
					if got, again := resolve(tt.host, "pc1", cure); again != nil {
						t.Errorf("the cure %s is refused: %q (%q)", cure, again, got)
					}
				}
			}
		})
	}
}

// On Windows a file lies in the captures folder, or else in a folder of its own; on Linux always in the captures folder.
func TestCapturesFolder(t *testing.T) {
	for _, test := range []struct{ goos, dir, given, want string }{
		{"linux", "", "a/x", "/var/captures"},
		{"windows", "", "x", `C:\Captures`},
		{"windows", "", `c:\captures\a\b\x`, `C:\Captures`},
		{"windows", "", `C:\Capture\a\b\x`, `C:\Capture\a\b`},
		{"windows", "", `E:/a/./b//x.pcapng`, `E:\a\b`},
		{"windows", "", `E:\x`, `E:\`},
		{"windows", `D:\caps\`, `a\x`, `D:\caps`},
	} {
		v := &validator{host: Host{GOOS: test.goos, Name: "h", CapturesDir: test.dir, Now: testNow}.withDefaults(), session: "pc1"}
		folder, path, faults := v.file(test.given)
		if folder != test.want || faults != nil || path == "" {
			t.Errorf("%s: %s: %q, %q, %v; want %q", test.goos, test.given, folder, path, faults, test.want)
		}
	}
}

// Whatever a host calls itself, its name adds no folder and no way out.
func TestHostNameIsSafeInPaths(t *testing.T) {
	for name, want := range map[string]string{
		"web01": "web01", "web01.example": "web01.example", "": "host", "..": "host", "../../etc": "etc", "a/b": "a-b", `a\b`: "a-b", "a..b": "a.b",
		"{hostname}": "hostname", "-a.": "a", "größe": "gr-e", strings.Repeat("x", 100): strings.Repeat("x", 63), "a\x00b": "a-b",
	} {
		h := testHost()
		h.Name = name
		got := h.safeName()
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
		file, faults := resolve(h, "pc1", "/var/captures/{hostname}")
		if faults != nil || file != "/var/captures/"+got+".cap" {
			t.Errorf("%q: got %q, %q", name, file, faults)
		}
	}
}

func FuzzFilePath(f *testing.F) {
	for _, s := range []string{
		"/var/captures/x", `C:\Captures\x`, "/var/captures/../x", "/var/captures/{hostname}/{startTime}", "/var/captures/...", "//", `C:\Captures\..\x`, "/var/captures/{{}}", `c:/captures/ ./x`, "/var/captures/x..", `C:\Captures\con`,
	} {
		f.Add(s, "web01", false)
		f.Add(s, "../..", true)
	}
	f.Fuzz(func(t *testing.T, given, name string, windows bool) {
		h := Host{GOOS: "linux", Name: name, Now: testNow}
		prefix, separator := "/var/captures/", "/"
		if windows {
			h.GOOS, prefix, separator = "windows", `C:\Captures\`, `\`
		}
		file, faults := resolve(h, "pc1", given)
		if (file == "") != (len(faults) > 0) {
			t.Fatalf("%q with faults %q", file, faults)
		}
		if file == "" {
			return
		}
		rest, ok := strings.CutPrefix(file, prefix)
		if !ok || rulesOf(h).clean(file) != file || len(file) > maxPath || strings.ContainsAny(file, "{}\x00") {
			t.Fatalf("got %q", file)
		}
		for part := range strings.SplitSeq(rest, separator) {
			if part == "" || part == "." || part == ".." || len(part) > maxFileName {
				t.Fatalf("segment %q in %q", part, file)
			}
		}
		lower := strings.ToLower(file)
		lower = strings.TrimSuffix(strings.TrimSuffix(lower, ".gz"), ".zst")
		if !strings.HasSuffix(lower, ".cap") && !strings.HasSuffix(lower, ".pcap") && !strings.HasSuffix(lower, ".pcapng") {
			t.Fatalf("no extension: %q", file)
		}
		if again, faults := resolve(h, "other", file); again != file {
			t.Fatalf("%q again: %q, %q", file, again, faults)
		}
	})
}
