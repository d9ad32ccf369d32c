package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/testnet"
	"pcapctl/storage/azblob/blobtest"
)

// snippet is a block of command lines in a page of the documentation.
type snippet struct {
	where  string // page and line
	script string // for bash
	notRun string // why it is not run, as the page says
	prints string // what it prints at a terminal, as the page says
	silent bool   // it must print nothing, as cron would send a mail
}

var (
	notRunMark  = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
	commandLine = regexp.MustCompile(`^(?:sudo |export [A-Z_]|(?:[A-Z_]+=\S* )*(?:go|pcapctl|tcpdump) )|[|] (?:sudo )?pcapctl `)
	namesTheCLI = regexp.MustCompile(`^(?:sudo )?pcapctl [a-z-]|[|] (?:sudo )?pcapctl [a-z]`)
	exitMark    = regexp.MustCompile(`^(.*?)\s+# (?:.*[ ,])?exit code (\d+)$`)
	cronFields  = regexp.MustCompile(`^(?:\S+ ){5}root `)
)

const printsMark = "<!-- prints -->"

// snippets finds the blocks of a page: fences of sh and crontab, and indented lines
// that are commands. Commands in a fence of another kind are told as a fault, since
// nothing would run them.
func snippets(page, text string) (found []snippet, faults []string) {
	lines := strings.Split(text, "\n")
	above := "" // the last line that is not empty
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		where := fmt.Sprintf("%s:%d", page, i+1)
		reason := ""
		if m := notRunMark.FindStringSubmatch(above); m != nil {
			reason = m[1]
		}
		switch kind, fenced := strings.CutPrefix(line, "```"); {
		case fenced:
			var body []string
			for i++; i < len(lines) && lines[i] != "```"; i++ {
				body = append(body, lines[i])
			}
			s := snippet{where: where, notRun: reason, script: strings.Join(body, "\n")}
			switch kind {
			case "crontab":
				s.script, s.silent = cronScript(body), true
				found = append(found, s)
			case "sh":
				found = append(found, s)
			default:
				if above == printsMark && len(found) > 0 {
					found[len(found)-1].prints = s.script
				} else if reason == "" && slices.ContainsFunc(body, namesTheCLI.MatchString) {
					faults = append(faults, where+": commands in a fence that is not sh")
				}
			}
			above = "```"
		case strings.HasPrefix(line, "    ") && above != "" && (i == 0 || lines[i-1] == "" || notRunMark.MatchString(lines[i-1])):
			var body []string
			for ; i < len(lines) && strings.HasPrefix(lines[i], "    "); i++ {
				body = append(body, lines[i][4:])
			}
			i--
			if slices.ContainsFunc(body, commandLine.MatchString) {
				found = append(found, snippet{where: where, notRun: reason, script: strings.Join(body, "\n")})
			}
			above = line
		case line != "":
			above = line
		}
	}
	return found, faults
}

// cronScript runs the commands of a crontab one after the other, as cron does: by sh.
func cronScript(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		// In a crontab % is a line feed unless there is a backslash before it.
		command := strings.ReplaceAll(cronFields.ReplaceAllString(l, ""), `\%`, "%")
		fmt.Fprintf(&b, "sh -c '%s'\n", strings.ReplaceAll(command, "'", `'\''`))
	}
	return b.String()
}

// forBash is the block with its marked lines turned into a check of the exit code.
func (s snippet) forBash() string {
	lines := strings.Split(s.script, "\n")
	for i, l := range lines {
		if m := exitMark.FindStringSubmatch(l); m != nil {
			lines[i] = fmt.Sprintf(`rc=0; %s || rc=$?; [ $rc = %s ] || { echo "exit code $rc instead of %s" >&2; exit 99; }`, m[1], m[2], m[2])
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// What the two tests below stand on: a block that is missed would never be run.
func TestSnippets(t *testing.T) {
	t.Parallel()
	page := strings.Join([]string{
		"# Page", "```sh", "pcapctl one", "pcapctl two   # so: exit code 5", "```", "text", "", "    sudo pcapctl three", "    more", "",
		"<!-- not run: needs Docker -->", "```sh", "pcapctl four", "```", "", "<!-- prints -->", "```text", "said", "```", "",
		"```text", "pcapctl hidden", "```", "", "    not a command: pcapctl", "", "```crontab", "# often", `5 2 * * * root pcapctl five +\%F 'a'`, "```", "",
		"```json", "{}", "```", "", "    cat x | pcapctl six -", "", "- a list", "    pcapctl is the program", "",
	}, "\n")
	found, faults := snippets("p.md", page)
	want := []snippet{
		{where: "p.md:2", script: "pcapctl one\npcapctl two   # so: exit code 5"},
		{where: "p.md:8", script: "sudo pcapctl three\nmore"},
		{where: "p.md:12", script: "pcapctl four", notRun: "needs Docker", prints: "said"},
		{where: "p.md:27", script: `sh -c 'pcapctl five +%F '\''a'\'''` + "\n", silent: true},
		{where: "p.md:36", script: "cat x | pcapctl six -"},
	}
	if !slices.Equal(found, want) {
		t.Errorf("found\n%+v, want\n%+v", found, want)
	}
	if want := []string{"p.md:21: commands in a fence that is not sh"}; !slices.Equal(faults, want) {
		t.Errorf("faults %q, want %q", faults, want)
	}
	if got := found[0].forBash(); !strings.Contains(got, "pcapctl one\n") || !strings.Contains(got, "pcapctl two || rc=$?; [ $rc = 5 ]") {
		t.Errorf("the exit code is not asked for: %s", got)
	}
}

var storageCommand = regexp.MustCompile(`--storage-(account|path)|pcapctl upload|AZURE_STORAGE`)

// repository is the folder with README.md.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// pages are the texts of README.md and docs/*.md by their names.
func pages(t testing.TB) map[string]string {
	t.Helper()
	root := repository(t)
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages in docs: %v", len(files), err)
	}
	all := map[string]string{}
	for _, f := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(root, f)
		all[name] = string(text)
	}
	return all
}

// TestDocsCommandLines runs every command line of README.md and docs/*.md, each page
// in a sandbox of its own, in which a page's blocks run one after the other as a
// reader would type them. Each must end with exit code 0, or with N where the page has
// `# exit code N` behind it. What is not run has its reason in a comment above it.
func TestDocsCommandLines(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("half a minute; run without -short")
	}
	testnet.Need(t, "ip", "mount", "unshare", "script", "tcpdump")
	var (
		mu      sync.Mutex
		all     int
		ran     int
		skipped []string
	)
	t.Run("pages", func(t *testing.T) {
		for name, text := range pages(t) {
			found, faults := snippets(name, text)
			all += len(found)
			t.Run(filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				for _, f := range faults {
					t.Error(f)
				}
				var run []snippet
				blobs := false
				for _, s := range found {
					why := s.notRun
					if why == "" && storageCommand.MatchString(s.script) {
						if blobs = azuriteThere(); !blobs {
							why = "Azurite is not installed: set PCAPCTL_AZURITE"
						}
					}
					if why == "" {
						run = append(run, s)
						continue
					}
					mu.Lock()
					skipped = append(skipped, s.where+": "+why)
					mu.Unlock()
				}
				if len(run) == 0 {
					return
				}
				runPage(t, text, run, blobs)
				mu.Lock()
				ran += len(run)
				mu.Unlock()
			})
		}
	})
	slices.Sort(skipped)
	t.Logf("%d blocks of command lines run, %d not run:\n%s", ran, len(skipped), strings.Join(skipped, "\n"))
	if all < 30 {
		t.Errorf("only %d blocks were found: are they still recognised?", all)
	}
}

// azuriteThere says whether there is an Azurite to try storage with. In CI there must be.
func azuriteThere() bool {
	_, err := exec.LookPath("azurite-blob")
	return err == nil || os.Getenv("PCAPCTL_AZURITE") != "" || os.Getenv("CI") != ""
}

// docsMachine makes of what is there a machine of the page's own: whatever the page writes
// into these folders is in memory and gone with the namespace.
const docsMachine = `set -e
mount -t tmpfs tmpfs "$SANDBOX"
[ -n "$HOME" ] || export HOME=/root
for d in /etc /run /var /usr/local /srv "$HOME" "$REPO"; do
  case "$d" in /run/* | /var/* | /usr/local/* | /srv/* | "$HOME"/*) continue ;; esac # it is in one of those before
  mkdir -p "$SANDBOX/upper$d" "$SANDBOX/work$d"
  mount -t overlay overlay -o "lowerdir=$d,upperdir=$SANDBOX/upper$d,workdir=$SANDBOX/work$d" "$d"
done
# Sessions and captures of the machine, should it have some.
rm -rf /var/captures /var/lib/pcapctl /etc/pcapctl
printf '#!/bin/sh\nexec docs-pcapctl "$@"\n' >/usr/local/bin/pcapctl
chmod 755 /usr/local/bin/pcapctl
cd "$REPO"
chmod o+w . # the reader's own folder, who calls sudo
cp docs/examples/request.json request.json
if [ -n "$BIG" ]; then # the reader's own large capture
  pcapctl create -q --time-limit 1 --file-path big.pcapng && mv /var/captures/big.pcapng .
  pcapctl create -q --time-limit 1 --file-path big.pcap.gz && mv /var/captures/big.pcap.gz .
  pcapctl delete -q --ended
fi
for s in "$BLOCKS"/*.sh; do
  rc=0 limit=60
  ! grep -qw go "$s" || limit=200 # what is not compiled yet takes a minute
  if [ -e "${s%.sh}.tty" ]; then
    timeout $limit script -qec "bash -e -o pipefail $s" /dev/null </dev/null >"${s%.sh}.out" 2>&1 || rc=$?
  else
    timeout $limit bash -e -o pipefail "$s" </dev/null >"${s%.sh}.out" 2>&1 || rc=$?
  fi
  echo $rc >"${s%.sh}.rc"
done
`

// runPage runs the blocks of a page on a machine that has eth0 with 10.0.0.4 and a web
// server on port 443, to which 10.0.0.5 connects all the time.
func runPage(t *testing.T, text string, blocks []snippet, blobs bool) {
	ns, peer := testnet.New(t), testnet.New(t)
	ns.IP("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer.Name)
	ns.IP("addr", "add", "10.0.0.4/24", "dev", "eth0")
	peer.IP("addr", "add", "10.0.0.5/24", "dev", "eth0")
	ns.IP("link", "set", "eth0", "up")
	peer.IP("link", "set", "eth0", "up")
	if strings.Contains(text, "-i wg0") {
		ns.IP("tuntap", "add", "wg0", "mode", "tun")
		ns.IP("link", "set", "wg0", "up")
	}
	ns.WaitUntilUp("eth0")
	peer.WaitUntilUp("eth0")
	makeTraffic(t, ns, peer)

	dir, bin, mountpoint := outside(t), outside(t), outside(t)
	for i, s := range blocks {
		base := filepath.Join(dir, fmt.Sprintf("%03d", i))
		write(t, base+".sh", s.forBash(), 0o600)
		if s.prints != "" {
			write(t, base+".tty", "", 0o600)
		}
	}
	write(t, filepath.Join(bin, "pcapctl"), "#!/bin/sh\nexec docs-pcapctl \"$@\"\n", 0o700)
	write(t, filepath.Join(bin, "sudo"), "#!/bin/sh\nSUDO_UID=1000 exec \"$@\"\n", 0o700)
	write(t, filepath.Join(bin, "ssh"), "#!/bin/sh\nshift\nexec sh -c \"$*\"\n", 0o700)
	program, err := exec.LookPath("pcapctl")
	if err != nil {
		t.Fatal(err)
	}
	env := append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PCAPCTL_") || strings.HasPrefix(v, "AZURE_") || strings.HasPrefix(v, "XDG_")
	}),
		"PATH="+bin+":"+os.Getenv("PATH"), "SANDBOX="+mountpoint, "REPO="+repository(t), "BLOCKS="+dir,
		"DOCS_PCAPCTL="+program, "GORACE=atexit_sleep_ms=0", "COLUMNS=100")
	if strings.Contains(text, " big.pcap") {
		env = append(env, "BIG=1")
	} else {
		env = append(env, "BIG=")
	}
	if blobs {
		a := blobtest.Start(t)
		var l net.Listener
		ns.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
		if err != nil {
			t.Fatal(err)
		}
		endpoint := a.Endpoint(blobtest.NewProxy(t, a, l, nil).Addr)
		a.Container("captures")
		env = append(env, "DOCS_BLOB_ENDPOINT="+endpoint, "PCAPCTL_BLOB_ENDPOINT="+endpoint, "AZURE_STORAGE_KEY="+a.Key)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	// With a namespace of processes, nothing outlives the page.
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns.Name,
		"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", docsMachine)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the page's sandbox: %v: %s (%v)", err, out, ctx.Err())
	}
	for i, s := range blocks {
		base := filepath.Join(dir, fmt.Sprintf("%03d", i))
		rc, err := os.ReadFile(base + ".rc")
		if err != nil {
			t.Fatalf("%s: was not run: %v", s.where, err)
		}
		said, err := os.ReadFile(base + ".out")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(rc)) != "0" {
			t.Errorf("%s: exit code %s of\n%s\n%s", s.where, rc, s.script, said)
			continue
		}
		if s.silent && len(said) > 0 {
			t.Errorf("%s: cron would send a mail:\n%s", s.where, said)
		}
		if testing.Verbose() {
			t.Logf("%s\n%s\n%s", s.where, s.script, said)
		}
		if s.prints != "" {
			if got := onScreen(string(said)); wordsOf(got) != wordsOf(s.prints) {
				t.Errorf("%s: the page shows\n%s\nbut it prints\n%s", s.where, s.prints, got)
			}
		}
	}
}

// outside is a folder that the sandbox does not hide, as it may hide TMPDIR.
func outside(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pcapctl-docs-") //nolint:usetesting // t.TempDir is below TMPDIR
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

var (
	anyName   = regexp.MustCompile(`\bpcapctl-web01-\w+\.\w+-\w{8}\b`)
	anyNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)
	anyUnit   = regexp.MustCompile(`\bN ?([kKMG]i?)?B\b|\bN ?(ms|s)\b`)
	anyBlank  = regexp.MustCompile(`\s+`)
)

// onScreen is what a terminal shows in the end of what was written to it: of each line
// what stands there since it was last emptied. The host is web01.
func onScreen(s string) string {
	host, _ := os.Hostname()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		line = line[strings.LastIndex(line, "\r")+1:]
		if line != "" {
			b.WriteString(strings.ReplaceAll(line, "pcapctl-"+host+"-", "pcapctl-web01-") + "\n")
		}
	}
	return b.String()
}

// wordsOf is what is the same each time: the words, without numbers, units of numbers
// and where lines are broken.
func wordsOf(s string) string {
	s = anyName.ReplaceAllString(s, "NAME")
	s = anyNumber.ReplaceAllString(s, "N")
	s = anyUnit.ReplaceAllString(s, "N")
	return strings.TrimSpace(anyBlank.ReplaceAllString(s, " "))
}

// makeTraffic has the peer connect to a server on the machine's port 443 until the
// test ends, twenty times a second.
func makeTraffic(t *testing.T, machine, peer *testnet.NS) {
	t.Helper()
	var l net.Listener
	var err error
	machine.Do(func() { l, err = net.Listen("tcp4", "10.0.0.4:443") })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	})
	wg.Go(func() {
		for {
			peer.Do(func() {
				if c, err := net.DialTimeout("tcp4", "10.0.0.4:443", time.Second); err == nil {
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
			})
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// docsProgram is the `pcapctl` of the pages: pcapctl itself, except that a capture in
// the foreground that would take long is ended by SIGINT a second after it has said that
// it captures, that no command may take longer than twenty seconds, and that the storage
// account pcstore is the test's.
func docsProgram() {
	code, err := runDocsProgram(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs-pcapctl:", err)
		code = 98
	}
	os.Exit(code)
}

func runDocsProgram(args []string) (int, error) {
	if endpoint := os.Getenv("DOCS_BLOB_ENDPOINT"); endpoint != "" {
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "https://"+blobtest.Account+".blob.core.windows.net", endpoint)
		}
	}
	cmd := exec.Command(os.Getenv("DOCS_PCAPCTL"), args...)
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	if isTerminal(os.Stderr) { // the page shows what is on it: nothing stands between
		cmd.Stderr = os.Stderr
		return watched(cmd, nil, args)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	return watched(cmd, said, args)
}

// watched runs the program, and reads what it says on the way to stderr.
func watched(cmd *exec.Cmd, said io.Reader, args []string) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	late := time.AfterFunc(20*time.Second, func() {
		fmt.Fprintln(os.Stderr, "docs-pcapctl: not ended after twenty seconds")
		_ = cmd.Process.Kill()
	})
	defer late.Stop()
	if slices.Contains(args, "create") && (slices.Contains(args, "-q") || slices.Contains(args, "--quiet")) { // it says nothing
		time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Signal(os.Interrupt) })
	}
	for lines := bufio.NewScanner(said); said != nil && lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		if strings.Contains(lines.Text(), "capturing on ") && takesLong(args, lines.Text()) {
			time.AfterFunc(time.Second, func() { _ = cmd.Process.Signal(os.Interrupt) })
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

var announcedLimit = regexp.MustCompile(`until (\d+)s,`)

// takesLong says whether a capture must be ended: it is in the foreground, and its
// announcement has no time limit of up to ten seconds.
func takesLong(args []string, announced string) bool {
	if slices.Contains(args, "--no-wait") || slices.Contains(args, "--read-file") {
		return false
	}
	m := announcedLimit.FindStringSubmatch(announced)
	if m == nil {
		return true
	}
	seconds, err := strconv.Atoi(m[1])
	return err != nil || seconds > 10
}

var (
	pageLink   = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	treePath   = regexp.MustCompile("`((?:capture|cmd|docs|filter|storage|\\.ci)/[^`\\s*]*)`")
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	flagName   = regexp.MustCompile("(?:^|[ `(])(--[a-z][a-z-]+)")
	fencedText = regexp.MustCompile("(?ms)^```.*?^```$")
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// TestDocsNameWhatExists looks up what pages name: pages and headings that they link,
// files and folders of the tree, tests, and flags of pcapctl.
func TestDocsNameWhatExists(t *testing.T) {
	t.Parallel()
	root, all := repository(t), pages(t)
	anchors := func(page string) (list []string) {
		for _, h := range heading.FindAllStringSubmatch(fencedText.ReplaceAllString(all[page], ""), -1) {
			list = append(list, "#"+anchorOf(h[1]))
		}
		return list
	}
	tests := testNames(t, root)
	known := allFlags(t)
	for page, text := range all {
		for _, m := range pageLink.FindAllStringSubmatch(text, -1) {
			to := page
			if strings.Contains(m[1], "://") {
				continue
			}
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s links %s: %v", page, m[1], err)
					continue
				}
			}
			if m[2] != "" && !slices.Contains(anchors(to), m[2]) {
				t.Errorf("%s links %s%s: no such heading", page, m[1], m[2])
			}
		}
		for _, m := range treePath.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
		for _, name := range testName.FindAllString(text, -1) {
			if !slices.ContainsFunc(tests, func(s string) bool { return strings.HasPrefix(s, name) }) {
				t.Errorf("%s names %s: no such test", page, name)
			}
		}
		if page == "docs/contributing.md" {
			continue // flags of other programs
		}
		for _, m := range flagName.FindAllStringSubmatch(fencedText.ReplaceAllString(text, ""), -1) {
			if !slices.Contains(known, m[1]) && !slices.Contains(flagsOfOthers, m[1]) {
				t.Errorf("%s names %s: no command has this flag", page, m[1])
			}
		}
	}
	for page := range all {
		if name := strings.TrimPrefix(page, "docs/"); name != page && !strings.Contains(all["README.md"], "(docs/"+name+")") {
			t.Errorf("README.md does not link %s", page)
		}
	}
}

// flagsOfOthers are flags in the pages that are of other programs.
var flagsOfOthers = []string{
	"--scope", "--role", "--assignee", // az role assignment create
	"--long", "--help",
}

// anchorOf is how GitHub names a heading in a link.
func anchorOf(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || r > 127 || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// testNames are the tests and fuzz targets of the tree.
func testNames(t *testing.T, root string) (names []string) {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// allFlags are the flags of all commands.
func allFlags(t *testing.T) (flags []string) {
	t.Helper()
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		add := func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) }
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{}).rootCommand(t.Output()))
	return flags
}
