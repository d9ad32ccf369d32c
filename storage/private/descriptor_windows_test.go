package private

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The descriptor is read by Windows as it is meant: protected, three entries, and who they are for.
func TestDescriptor(t *testing.T) {
	const user = "S-1-5-21-1-2-3-1001"
	for _, test := range []struct {
		flags, rights string
		mask          windows.ACCESS_MASK
		aceFlags      uint8
	}{
		{ofObject, "FA", 0x1f01ff, 0},
		{ofFolder, "FA", 0x1f01ff, windows.OBJECT_INHERIT_ACE | windows.CONTAINER_INHERIT_ACE},
		{ofObject, "GA", windows.GENERIC_ALL, 0},
	} {
		sd, err := windows.SecurityDescriptorFromString(sddl(user, test.flags, test.rights))
		if err != nil {
			t.Fatal(err)
		}
		owner, _, err := sd.Owner()
		if err != nil || owner.String() != user {
			t.Errorf("owner %v, %v", owner, err)
		}
		if control, _, err := sd.Control(); err != nil || control&windows.SE_DACL_PROTECTED == 0 {
			t.Errorf("control %x, %v", control, err)
		}
		dacl, _, err := sd.DACL()
		if err != nil || dacl.AceCount != 3 {
			t.Fatalf("%+v, %v", dacl, err)
		}
		for i, want := range []string{user, "S-1-5-18", "S-1-5-32-544"} {
			var ace *windows.ACCESS_ALLOWED_ACE
			if err := windows.GetAce(dacl, uint32(i), &ace); err != nil {
				t.Fatal(err)
			}
			got := (*windows.SID)(unsafe.Pointer(&ace.SidStart)).String()
			if got != want || ace.Mask != test.mask || ace.Header.AceFlags != test.aceFlags || ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
				t.Errorf("entry %d: %s %x %x, want %s %x %x", i, got, ace.Mask, ace.Header.AceFlags, want, test.mask, test.aceFlags)
			}
		}
	}
}

// An object of the kernel can be made with the attributes, and opened by its maker.
func TestAttributes(t *testing.T) {
	sa, err := Attributes()
	if err != nil {
		t.Fatal(err)
	}
	name, err := windows.UTF16PtrFromString(`Local\pcapctl-test-attributes`)
	if err != nil {
		t.Fatal(err)
	}
	made, err := windows.CreateEvent(sa, 1, 0, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(made) }()
	opened, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(opened) }()
	if err := windows.SetEvent(opened); err != nil {
		t.Error(err)
	}
	if got, err := windows.WaitForSingleObject(made, 0); err != nil || got != windows.WAIT_OBJECT_0 {
		t.Errorf("%d, %v", got, err)
	}
}
