package azblob

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
)

// maxBlocks is how many blocks a blob may have.
const maxBlocks = 50_000

// Bounds of a block's size in bytes. Smaller ones cost more requests, and
// larger ones leave more to be sent after the last packet.
const (
	minBlock = 4 << 20
	// endlessBlock is for a capture without a byte limit: 1.5 TiB in all.
	endlessBlock = 32 << 20
	// maxBlock is the service's own limit (4000 MiB).
	maxBlock = 4000 << 20
)

// BlockSize is the size of the blocks of a file of at most limit bytes, 0 for
// no limit.
func BlockSize(limit int64) int64 {
	if limit <= 0 {
		return endlessBlock
	}
	const mib = 1 << 20
	size := (limit + maxBlocks - 1) / maxBlocks
	return min(max(minBlock, (size+mib-1)/mib*mib), maxBlock)
}

// A block's name says all that a later process needs to go on with an upload
// that was cut off, from the file and the service's list of staged blocks
// alone:
//
//	 8 bytes  which file: the start of the SHA-256 of its first HeadLen bytes
//	 4 bytes  index of the block, big endian
//	 4 bytes  size of the blocks, big endian
//	32 bytes  chaining value of SHA-256 over the file up to the end of the
//	          block; the SHA-256 itself for a last block that is not full
//
// The chaining value makes the name differ as soon as any byte before the end
// of the block does, so that blocks of another file, or of the same file before
// it was changed, are never taken for ours. And where the start of the file has
// been given back to the disk, the hash goes on from the name of the last block
// that was.
//
// The service wants names of at most 64 bytes, all of a blob with the same
// length, in base64 (Put Block). 48 bytes make 64 characters without padding.
type blockName struct {
	file  [8]byte
	index uint32
	size  uint32
	chain [sha256.Size]byte
}

const (
	// HeadLen is how many bytes of the start of a file distinguish it: the
	// header of a pcap file and its first packets with their times. It is never
	// given back to the disk.
	HeadLen = 4096

	rawNameLen = 8 + 4 + 4 + sha256.Size
	nameLen    = rawNameLen / 3 * 4
)

func (n blockName) String() string {
	b := make([]byte, 0, rawNameLen)
	b = append(b, n.file[:]...)
	b = binary.BigEndian.AppendUint32(b, n.index)
	b = binary.BigEndian.AppendUint32(b, n.size)
	b = append(b, n.chain[:]...)
	return base64.StdEncoding.EncodeToString(b)
}

// parseName is false for a name that is not of this form.
func parseName(s string) (n blockName, ok bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != rawNameLen {
		return n, false
	}
	copy(n.file[:], b)
	n.index = binary.BigEndian.Uint32(b[8:])
	n.size = binary.BigEndian.Uint32(b[12:])
	copy(n.chain[:], b[16:])
	return n, n.size > 0 && n.index < maxBlocks
}

// fileID is the first member of the names of a file's blocks.
func fileID(head []byte) (id [8]byte) {
	sum := sha256.Sum256(head)
	copy(id[:], sum[:])
	return id
}

// The form in which crypto/sha256 gives its state away: a magic number, the
// chaining value, the bytes of the unfinished block (zero when there are none)
// and the length. TestChain holds it against the library.
var sha256Magic = []byte("sha\x03")

const sha256StateLen = 4 + sha256.Size + sha256.BlockSize + 8

// chain is the chaining value of h, which must have taken a multiple of 64 bytes.
func chain(h hash.Hash) (c [sha256.Size]byte, err error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return c, errState
	}
	state, err := m.MarshalBinary()
	if err != nil || len(state) != sha256StateLen || !bytes.HasPrefix(state, sha256Magic) {
		return c, errors.Join(errState, err)
	}
	copy(c[:], state[len(sha256Magic):])
	return c, nil
}

// resumeHash is a hash that has taken length bytes and then had the chaining
// value c.
func resumeHash(c [sha256.Size]byte, length int64) (hash.Hash, error) {
	state := make([]byte, 0, sha256StateLen)
	state = append(state, sha256Magic...)
	state = append(state, c[:]...)
	state = append(state, make([]byte, sha256.BlockSize)...)
	state = binary.BigEndian.AppendUint64(state, uint64(length))
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errState
	}
	if err := u.UnmarshalBinary(state); err != nil {
		return nil, errors.Join(errState, err)
	}
	return h, nil
}

var errState = errors.New("crypto/sha256 keeps its state in an unknown form")
