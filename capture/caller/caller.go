// Package caller tells on whose behalf a process of root works, and lets it do
// things with the rights of that user alone. It also opens files that are
// believed, which nobody else may have written.
package caller

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// User is who has called a program of root through sudo, doas or pkexec.
type User struct {
	Name   string // for people
	uid    int
	gid    int
	groups []int // the others, besides gid
}

// UID is the user's id.
func (u *User) UID() int { return u.uid }

// maxID is the largest id of a user or group. One more is -1, by which
// setresuid(2) leaves an id as it is: nothing would be given up.
const maxID = 1<<32 - 2

// variables are those by which programs that give root's rights tell whom they
// gave them to: sudo(8), run0(1), doas(1), pkexec(1).
var variables = []struct{ user, group string }{
	{"SUDO_UID", "SUDO_GID"},
	{"PKEXEC_UID", ""},
	{"DOAS_USER", ""},
}

// find is the user that the environment names, nil when it names none or root. What
// it says is not believed further than that it takes rights away: who could set it
// is root, or has been given root's rights.
func find(getenv func(string) string) (*User, error) {
	for _, v := range variables {
		given := getenv(v.user)
		if given == "" {
			continue
		}
		u, err := lookUp(given, v.user == "DOAS_USER", getenv, v.group)
		if err != nil {
			return nil, fmt.Errorf("the environment says by %s that pcapctl was called by the user %.80q, and %w", v.user, given, err)
		}
		if u.uid == 0 {
			return nil, nil
		}
		return u, nil
	}
	return nil, nil
}

// lookUp finds a user by name or id. The group comes from the environment only when
// the machine's own list does not know the user.
func lookUp(given string, byName bool, getenv func(string) string, groupVariable string) (*User, error) {
	var known *user.User
	var err error
	if byName {
		known, err = user.Lookup(given)
	} else {
		if _, ok := parseID(given); !ok {
			return nil, errors.New("that is not the id of a user")
		}
		known, err = user.LookupId(given)
	}
	if err != nil {
		return unlisted(given, byName, getenv, groupVariable)
	}
	u := &User{Name: known.Username}
	uid, ok1 := parseID(known.Uid)
	gid, ok2 := parseID(known.Gid)
	if !ok1 || !ok2 {
		return nil, errors.New("/etc/passwd has no valid ids for it")
	}
	u.uid, u.gid = uid, gid
	list, err := known.GroupIds()
	if err != nil {
		return u, nil //nolint:nilerr // without them the user may do less
	}
	for _, text := range list {
		if id, ok := parseID(text); ok && id != u.gid {
			u.groups = append(u.groups, id)
		}
	}
	return u, nil
}

// unlisted is a user whom /etc/passwd does not have, as one of a directory service.
func unlisted(given string, byName bool, getenv func(string) string, groupVariable string) (*User, error) {
	uid, ok := parseID(given)
	if byName || !ok {
		return nil, errors.New("there is no such user")
	}
	u := &User{Name: "user id " + given, uid: uid}
	if groupVariable == "" {
		return nil, errors.New("nothing tells the group of that user")
	}
	text := getenv(groupVariable)
	// Group 0 may read a lot; a user whom nobody knows is not given it.
	if u.gid, ok = parseID(text); !ok || u.gid == 0 && uid != 0 {
		return nil, fmt.Errorf("by %s that it is in group %.80q, which is not a valid group for it", groupVariable, text)
	}
	return u, nil
}

// parseID parses the id of a user or group: digits and nothing else.
func parseID(text string) (int, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id > maxID || strconv.FormatUint(id, 10) != text {
		return 0, false
	}
	return int(id), true
}

// ErrUntrusted is the cause of every error about a file that somebody else may have
// written.
var ErrUntrusted = errors.New("somebody else may have written it")

// untrusted says where on the way to a file somebody else may write.
func untrusted(path, format string, args ...any) error {
	return fmt.Errorf("%s %s: %w", path, fmt.Sprintf(format, args...), ErrUntrusted)
}
