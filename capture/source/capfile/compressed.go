package capfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compression is a way in which a file may be compressed.
type compression struct {
	name string
	// expand makes the reader of the content, with the memory that it needs.
	expand func(io.Reader) (io.WriterTo, func(), error)
}

// compressionOf finds out by the first four bytes of a file how it is
// compressed; nil when it is not.
func compressionOf(magic []byte) *compression {
	if len(magic) < 4 {
		return nil
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return &compression{"gzip", expandGzip}
	case string(magic) == "\x28\xb5\x2f\xfd",
		// A skippable frame may come first, as pzstd writes them. lz4 has the same,
		// but nothing is known that begins a file so.
		magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18":
		return &compression{"zstd", expandZstd}
	case string(magic) == "\x04\x22\x4d\x18", string(magic) == "\x02\x21\x4c\x18": // the latter before lz4 had frames
		return &compression{"lz4", expandLZ4}
	}
	return nil
}

func expandGzip(from io.Reader) (io.WriterTo, func(), error) {
	r, err := gzip.NewReader(from)
	return r, func() {}, err
}

// maxWindow is how much of the content before it a zstd file may refer to, in
// bytes, which has to be kept in memory. It is also the bound of the zstd
// program, unless that is told otherwise.
const maxWindow = 128 << 20

// expandZstd has no goroutines of its own: there is one for it already.
func expandZstd(from io.Reader) (io.WriterTo, func(), error) {
	r, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, nil, err
	}
	return r, r.Close, nil
}

func expandLZ4(from io.Reader) (io.WriterTo, func(), error) {
	r := lz4.NewReader(from)
	return r, func() {}, r.Apply(lz4.ConcurrencyOption(1))
}

// compressedError is a compressed file that cannot be expanded to its end. It does
// not unwrap: an io.ErrUnexpectedEOF is not the end of the capture file within.
type compressedError struct {
	kind string // of compression
	at   int64  // bytes of the compressed file that had been read
	err  error
}

func (e *compressedError) Error() string {
	switch {
	case errors.Is(e.err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the file is cut short: its %s data ends at byte %d, before its end mark", e.kind, e.at)
	case errors.Is(e.err, zstd.ErrWindowSizeExceeded), errors.Is(e.err, zstd.ErrDecoderSizeExceeded):
		return fmt.Sprintf("its %s data needs a window of more than %d MiB; give it to --read-file - through `zstd -dc --long=31`", e.kind, maxWindow>>20)
	}
	return fmt.Sprintf("its %s data is damaged at or before byte %d: %v", e.kind, e.at, e.err)
}

// rawReader keeps the error of the file itself apart from those of its content.
type rawReader struct {
	*input
	err error // but io.EOF
}

// Read implements io.Reader.
func (r *rawReader) Read(p []byte) (int, error) {
	n, err := r.input.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// expandTo writes the content of a compressed file to w. Its error is io.EOF
// when all of it has been written.
func (c *compression) expandTo(w io.Writer, from *bufio.Reader, raw *rawReader) error {
	r, release, err := c.expand(from)
	if err == nil {
		defer release()
		_, err = r.WriteTo(w)
	}
	switch {
	case err == nil:
		return io.EOF
	case errors.Is(err, errInterrupted):
		return errInterrupted
	case raw.err != nil:
		return raw.err
	case errors.Is(err, io.EOF): // within the header of the compression
		err = io.ErrUnexpectedEOF
	}
	return &compressedError{c.name, raw.read.Load(), err}
}
