package testwine

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"strings"
)

// forwarder is a DLL for Windows on amd64 without any code: it exports names that lead to functions of other DLLs, such
// as "ProcessPrng" to "advapi32.SystemFunction036". exports has a line "name=DLL.function" for each, in the order
// of their names. The layout is that of Microsoft's PE format: headers of 512 bytes and one section with
// the export directory, whose addresses lie within the directory itself, which is what makes them forwarders.
func forwarder(name string, exports ...string) []byte {
	const (
		alignment = 0x200  // of sections in the file, and the size of the headers
		section   = 0x1000 // where the section is in memory
		directory = 40     // bytes of an export directory
	)
	count := uint32(len(exports))
	functions := uint32(section + directory)
	names := functions + 4*count
	ordinals := names + 4*count
	next := ordinals + 2*count
	var texts []byte
	put := func(s string) uint32 {
		at := next + uint32(len(texts))
		texts = append(append(texts, s...), 0)
		return at
	}
	own := put(name)
	var to, from []uint32
	var order []uint16
	for i, export := range exports {
		left, right, _ := strings.Cut(export, "=")
		from, to, order = append(from, put(left)), append(to, put(right)), append(order, uint16(i))
	}
	var data bytes.Buffer
	write := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&data, binary.LittleEndian, v) // a Buffer takes all, and the types are of fixed size
		}
	}
	write([]uint32{0, 0, 0, own, 1, count, count, functions, names, ordinals}, to, from, order, texts)
	size := uint32(data.Len())
	sectionBytes := append(data.Bytes(), make([]byte, (alignment-int(size)%alignment)%alignment)...)

	optional := pe.OptionalHeader64{
		Magic: 0x20b, ImageBase: 0x180000000, SectionAlignment: 0x1000, FileAlignment: alignment,
		SizeOfInitializedData: uint32(len(sectionBytes)), MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6,
		SizeOfImage: section + (size+0xfff)&^0xfff, SizeOfHeaders: alignment, Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI,
		DllCharacteristics:  pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT | pe.IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
		NumberOfRvaAndSizes: 16,
	}
	optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: section, Size: size}
	file := pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(optional)),
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	}
	header := pe.SectionHeader32{
		Name: [8]uint8{'.', 'r', 'd', 'a', 't', 'a'}, VirtualSize: size, VirtualAddress: section,
		SizeOfRawData: uint32(len(sectionBytes)), PointerToRawData: alignment,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	}
	dos := make([]byte, 64)
	copy(dos, "MZ")
	dos[0x3c] = 64 // where "PE" is
	data.Reset()
	write(dos, []byte("PE\x00\x00"), file, optional, header)
	return append(append(data.Bytes(), make([]byte, alignment-data.Len())...), sectionBytes...)
}
