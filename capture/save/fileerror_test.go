package save

import (
	"strings"
	"syscall"
	"testing"

	"pcapctl/capture/request"
)

// On a full disk a session is told the member by which it writes less: the one that its request may have.
func TestFullDiskCure(t *testing.T) {
	for _, tt := range []struct {
		name       string
		continuous *request.Continuous
		want       string
	}{
		{"one file", nil, "set a smaller totalBytesPerSession"},
		{"one file in continuous mode", &request.Continuous{}, "set a smaller captureSettings.fileSizeInBytes"},
		{"a ring", &request.Continuous{Rotate: true}, "set a smaller captureSettings.fileCount or fileSizeInBytes"},
	} {
		for _, cause := range fullDisk {
			if err := FileError(&request.Config{Continuous: tt.continuous}, cause); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		}
		if err := FileError(&request.Config{Continuous: tt.continuous}, syscall.EIO); strings.Contains(err.Error(), "smaller") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
