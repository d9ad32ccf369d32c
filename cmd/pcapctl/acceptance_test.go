package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the acceptance test for Windows gives to pcapctl is what pcapctl takes: each of its flags is there, and each row of its tables of
// filters is a request.
func TestAcceptanceScriptCommandLines(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "windows-acceptance.ps1"))
	if err != nil {
		t.Fatal(err)
	}
	do := func(args ...string) (int, string) {
		var out, errs strings.Builder
		code := run(args, strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	var help strings.Builder
	for _, verb := range []string{"create", "list", "stop", "validate"} {
		code, said := do(verb, "--help")
		if code != 0 {
			t.Fatal(verb, code, said)
		}
		help.WriteString(said)
	}
	flags := regexp.MustCompile(`'(--[a-z-]+)[|='\s]`).FindAllSubmatch(text, -1)
	for _, flag := range flags {
		if !regexp.MustCompile(string(flag[1]) + `\b`).MatchString(help.String()) {
			t.Errorf("no command has the flag %s", flag[1])
		}
	}
	captures := t.TempDir()
	rows := regexp.MustCompile(`@\('(--[^']*)', '[A-Z]*'\)`).FindAllSubmatch(text, -1)
	for _, row := range rows {
		args := append([]string{"validate", "-n", "x", "--captures-dir", captures}, strings.Split(string(row[1]), "|")...)
		if code, said := do(args...); code != 0 {
			t.Errorf("%s: exit code %d: %s", args, code, said)
		}
	}
	if len(flags) < 30 || len(rows) < 20 {
		t.Errorf("%d flags and %d rows were found", len(flags), len(rows))
	}
	if !strings.Contains(string(text), "'--storage-account', $account, '--storage-path'") {
		t.Error("a blob is named without its account, which create does not take")
	}
}
