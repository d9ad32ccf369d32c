package private

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestRights(t *testing.T) {
	const owner, other = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002"
	for text, want := range map[string]Rights{
		"D:P(A;;FA;;;" + owner + ")(A;;FA;;;SY)(A;;FA;;;BA)":  {},
		"D:P(A;;FA;;;" + owner + ")(A;;FR;;;" + other + ")":   {},
		"D:P(A;;FA;;;" + owner + ")(A;;FA;;;" + other + ")":   {Written: true, Moved: true, Emptied: true},
		"D:P(A;;FA;;;" + owner + ")(A;;0x2;;;" + other + ")":  {Written: true},                             // make files in it
		"D:P(A;;FA;;;" + owner + ")(A;;0x4;;;" + other + ")":  {Written: true},                             // make folders in it
		"D:P(A;;FA;;;" + owner + ")(A;;0x40;;;" + other + ")": {Written: true, Moved: true, Emptied: true}, // remove what is in it
		"D:P(A;;WD;;;" + other + ")":                          {Written: true, Moved: true, Emptied: true}, // change the list itself
		"D:P(A;;0x1301bf;;;AU)(A;;FA;;;BA)":                   {Written: true, Moved: true},                // of the root of a second drive
		"D:P(A;;FRFX;;;BU)(A;;FA;;;CO)":                       {},
		"D:P(A;OICIIO;FA;;;" + other + ")":                    {}, // for what is made in it only
		"D:P(D;;FA;;;" + other + ")(A;;FA;;;" + owner + ")":   {},
		"D:P(A;;FA;;;WD)": {Written: true, Moved: true, Emptied: true},
		"D:P":             {},
	} {
		sd, err := windows.SecurityDescriptorFromString("O:" + owner + text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want.Owner = owner
		if got := rightsIn(sd); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// What this process makes is its own, and nobody else's to write to.
func TestRightsOfWhatIsMade(t *testing.T) {
	dir := t.TempDir()
	f, err := CreateFile(dir+`\x`, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if r := RightsOf(f); r.Owner != User() || r.Written || r.Moved || User() == "" {
		t.Errorf("%+v of a file that %s has made", r, User())
	}
}

// The command has no character outside of quotes that means something to cmd.exe or PowerShell, and no quote that a backslash takes.
func TestClosingCommand(t *testing.T) {
	for _, path := range []string{`C:\`, `C:\Program Files (x86)\p&q`, `D:\a`} {
		for _, folder := range []bool{false, true} {
			command := ClosingCommand(path, folder)
			for i, part := range strings.Split(command, `"`) {
				if i%2 == 0 && strings.ContainsAny(part, "()&*$;|<>") || i%2 == 1 && strings.HasSuffix(part, `\`) && !strings.HasSuffix(part, `\\`) {
					t.Errorf("%s: %q", command, part)
				}
			}
			if strings.Count(command, `"`)%2 != 0 || strings.Contains(command, "(OI)") != folder || !strings.Contains(command, "*"+User()+":") {
				t.Error(command)
			}
		}
	}
}
