package private

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Accounts of every Windows, by their SIDs. [MS-DTYP] 2.4.2.4.
const (
	System         = "S-1-5-18"
	Administrators = "S-1-5-32-544"
	// Installer is NT SERVICE\TrustedInstaller: Windows itself.
	Installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

	creatorOwner = "S-1-3-0"
	ownerRights  = "S-1-3-4"
)

// User is the SID of the user of this process, "" when Windows does not tell it.
func User() string {
	sid, err := userSID()
	if err != nil {
		return ""
	}
	return sid
}

// NameOf is the name of an account, for people.
func NameOf(sid string) string {
	s, err := windows.StringToSid(sid)
	if err != nil {
		return "somebody who may not be known"
	}
	name, domain, _, err := s.LookupAccount("")
	switch {
	case err != nil:
		return sid
	case domain == "":
		return name
	}
	return domain + `\` + name
}

// Trusted tells of accounts that may do everything, so that nothing of theirs need be feared.
func Trusted(sid string) bool { return sid == System || sid == Administrators || sid == Installer }

// Elevated tells whether this process may do what every other user may: it has the rights of an administrator, or is SYSTEM's.
func Elevated() bool {
	sid, err := windows.CreateWellKnownSid(windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return false
	}
	member, err := windows.Token(0).IsMember(sid)
	return err == nil && member
}

// ClosingCommand is the command that leaves a file, or a folder and what is made in it, to the user of this process and to those who
// may do everything: nothing is handed down from above, and what was given to everybody is taken back. It means the same to cmd.exe and
// to PowerShell.
func ClosingCommand(path string, folder bool) string {
	const everyone, authenticated, users = "*S-1-1-0", "*S-1-5-11", "*S-1-5-32-545"
	rights := ":F"
	if folder {
		rights = ":(OI)(CI)F"
	}
	if strings.HasSuffix(path, `\`) {
		path += `\` // one alone would make the quote a part of the path
	}
	return fmt.Sprintf(`icacls "%s" /inheritance:r /remove:g "%s" "%s" "%s" /grant:r "*%s" "*%s" "*%s"`, path,
		everyone, authenticated, users, User()+rights, Administrators+rights, System+rights)
}

// Rights are who may do what with a file or folder.
type Rights struct {
	Owner   string // SID, "" when it may not be known
	Written bool   // others may change it, or what is in it
	Moved   bool   // others may remove or rename it or what is in it, or give themselves the right to
	Emptied bool   // the same, but for it: nobody can remove or rename the root of a drive, whatever its rights say
}

// others is what is known of what cannot be looked at.
var others = Rights{Written: true, Moved: true, Emptied: true}

// RightsOf asks for the rights of an open file or folder. Others are all but its owner, this user, and those who may do
// everything.
func RightsOf(f *os.File) Rights {
	sd, err := windows.GetSecurityInfo(windows.Handle(f.Fd()), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return others
	}
	return rightsIn(sd)
}

// rightsIn are those of a descriptor.
func rightsIn(sd *windows.SECURITY_DESCRIPTOR) Rights {
	const (
		deleteChild = 0x40 // FILE_DELETE_CHILD
		empties     = deleteChild | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_ALL
		moves       = empties | windows.DELETE
		writes      = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.GENERIC_WRITE | moves
	)
	var r Rights
	if sid, _, err := sd.Owner(); err == nil && sid != nil {
		r.Owner = sid.String()
	}
	dacl, _, err := sd.DACL()
	if err != nil || dacl == nil { // none: everybody may do everything
		return Rights{r.Owner, true, true, true}
	}
	for i := range uint32(dacl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(dacl, i, &ace) != nil {
			return Rights{r.Owner, true, true, true}
		}
		switch {
		case ace.Header.AceType == windows.ACCESS_DENIED_ACE_TYPE, ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0:
			continue
		case ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE: // with conditions: who it is for is not known
			return Rights{r.Owner, true, true, true}
		}
		switch who := (*windows.SID)(unsafe.Pointer(&ace.SidStart)).String(); { //nolint:gosec // G103: where GetAce says that it is
		case Trusted(who), who == r.Owner, who == User(), who == creatorOwner, who == ownerRights:
			continue
		}
		r.Written = r.Written || ace.Mask&writes != 0
		r.Moved = r.Moved || ace.Mask&moves != 0
		r.Emptied = r.Emptied || ace.Mask&empties != 0
	}
	return r
}
