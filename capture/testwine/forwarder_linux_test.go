package testwine

import (
	"bytes"
	"debug/pe"
	"testing"
)

// That Windows programs load it is shown by every Go program that runs under Wine 8.
func TestForwarder(t *testing.T) {
	dll := forwarder("one.dll", "First=two.Second", "Third=four.Fourth")
	if len(dll) != 1024 {
		t.Errorf("%d bytes", len(dll))
	}
	file, err := pe.NewFile(bytes.NewReader(dll))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != pe.IMAGE_FILE_MACHINE_AMD64 || len(file.Sections) != 1 || file.Sections[0].Characteristics&pe.IMAGE_SCN_CNT_CODE != 0 {
		t.Errorf("not a file for amd64 with one section of data: %+v", file.FileHeader)
	}
	data, err := file.Sections[0].Data()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.dll", "First", "two.Second", "Third", "four.Fourth"} {
		if !bytes.Contains(data, append([]byte(name), 0)) {
			t.Errorf("%s is not in it", name)
		}
	}
}
