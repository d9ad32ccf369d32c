package caller

import (
	"runtime"
	"testing"
)

// An environment can take rights away and give none: what is not the id of a user is
// an error, above all the id by which the kernel leaves everything as it is.
func TestHostileEnvironment(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		uid  int // -1: nobody, -2: an error
	}{
		{"nothing", nil, -1},
		{"root", map[string]string{"SUDO_UID": "0", "SUDO_GID": "0"}, -1},
		{"a user whom the machine does not know", map[string]string{"SUDO_UID": "54321", "SUDO_GID": "54322"}, 54321},
		{"of pkexec, whom it does not know", map[string]string{"PKEXEC_UID": "54321"}, -2},
		{"sudo goes before pkexec", map[string]string{"SUDO_UID": "54321", "SUDO_GID": "54322", "PKEXEC_UID": "0"}, 54321},
		{"no change", map[string]string{"SUDO_UID": "4294967295", "SUDO_GID": "1000"}, -2},
		{"no change of the group", map[string]string{"SUDO_UID": "54321", "SUDO_GID": "4294967295"}, -2},
		{"minus one", map[string]string{"SUDO_UID": "-1", "SUDO_GID": "1000"}, -2},
		{"root by overflow", map[string]string{"SUDO_UID": "4294967296", "SUDO_GID": "1000"}, -2},
		{"root in another form", map[string]string{"SUDO_UID": "00", "SUDO_GID": "1000"}, -2},
		{"a sign", map[string]string{"SUDO_UID": "+0", "SUDO_GID": "1000"}, -2},
		{"text", map[string]string{"SUDO_UID": "1000\x1b[31m", "SUDO_GID": "1000"}, -2},
		{"a name", map[string]string{"SUDO_UID": "root", "SUDO_GID": "1000"}, -2},
		{"no group", map[string]string{"SUDO_UID": "54321"}, -2},
		{"root's group", map[string]string{"SUDO_UID": "54321", "SUDO_GID": "0"}, -2},
		{"doas, root", map[string]string{"DOAS_USER": "root"}, -1},
		{"doas, a number", map[string]string{"DOAS_USER": "54321"}, -2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && test.name == "doas, root" {
				t.Skip("no user of Windows is called root")
			}
			u, err := find(func(name string) string { return test.env[name] })
			got := -1
			switch {
			case err != nil:
				got = -2
			case u != nil:
				got = u.uid
				if u.gid == 0 {
					t.Error("it has root's group")
				}
			}
			if got != test.uid {
				t.Errorf("%d, want %d: %+v, %v", got, test.uid, u, err)
			}
		})
	}
}
