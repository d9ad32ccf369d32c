package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// guards lists the other processes that run this test program: its guards, as the writers have been waited for.
func guards(t *testing.T) (pids []string) {
	t.Helper()
	own, err := os.Executable()
	must(t, err)
	list, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	must(t, err)
	defer func() { _ = windows.CloseHandle(list) }()
	p := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(list, &p); err == nil; err = windows.Process32Next(list, &p) {
		name := windows.UTF16ToString(p.ExeFile[:])
		if strings.EqualFold(name, filepath.Base(own)) && p.ProcessID != windows.GetCurrentProcessId() {
			pids = append(pids, fmt.Sprint(p.ProcessID))
		}
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		t.Fatal(err)
	}
	return pids
}
