package private_test

import (
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// wantPrivate reads the descriptor back. Wine keeps of it what a mode can say: that its owner has all rights, and others none.
func wantPrivate(t *testing.T, path string, folder bool) {
	t.Helper()
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	must(t, err)
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	must(t, err)
	owner, _, err := sd.Owner()
	must(t, err)
	if !owner.Equals(user.User.Sid) {
		t.Errorf("%s belongs to %s, want %s", path, owner, user.User.Sid)
	}
	control, _, err := sd.Control()
	must(t, err)
	if control&windows.SE_DACL_PROTECTED == 0 && !onWine() {
		t.Errorf("%s: what folders above hand down is not kept out: %s", path, sd)
	}
	allowed := []string{owner.String(), "S-1-5-18", "S-1-5-32-544"}
	for _, ace := range entries(t, sd) {
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || !slices.Contains(allowed, sid.String()) {
			t.Errorf("%s: an entry for %s: %s", path, sid, sd)
		}
		if inherits := ace.Header.AceFlags&(windows.OBJECT_INHERIT_ACE|windows.CONTAINER_INHERIT_ACE) != 0; inherits != folder {
			t.Errorf("%s: handed down: %v, want %v: %s", path, inherits, folder, sd)
		}
	}
}

func entries(t *testing.T, sd *windows.SECURITY_DESCRIPTOR) (list []*windows.ACCESS_ALLOWED_ACE) {
	t.Helper()
	dacl, _, err := sd.DACL()
	must(t, err)
	if dacl == nil || dacl.AceCount == 0 {
		t.Fatalf("no entries: %s", sd)
	}
	for i := range dacl.AceCount {
		var ace *windows.ACCESS_ALLOWED_ACE
		must(t, windows.GetAce(dacl, uint32(i), &ace))
		list = append(list, ace)
	}
	return list
}

func onWine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}
