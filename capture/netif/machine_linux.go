package netif

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine says what the machine is and what it runs.
func Machine() (hardware, system string) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		hardware = unix.ByteSliceToString(u.Machine[:])
		system = strings.Join([]string{unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), hardware}, " ")
	}
	if name, err := os.ReadFile("/sys/class/dmi/id/product_name"); err == nil {
		hardware = strings.TrimSpace(strings.TrimSpace(string(name)) + " " + hardware)
	}
	return hardware, system
}
