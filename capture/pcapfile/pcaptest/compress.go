package pcaptest

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compressions are the ways of Compress.
func Compressions() []string { return []string{"gzip", "zstd", "lz4"} }

// flusher writes compressed data; Flush ends a piece that can be read by itself.
type flusher interface {
	io.WriteCloser
	Flush() error
}

// Compressor compresses what is written to it.
func Compressor(how string, to io.Writer) flusher {
	switch how {
	case "gzip":
		return gzip.NewWriter(to)
	case "zstd":
		w, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		return w
	case "lz4":
		return lz4.NewWriter(to)
	}
	panic(how)
}

// Compress compresses a file.
func Compress(how string, file []byte) []byte {
	var b bytes.Buffer
	w := Compressor(how, &b)
	_, err := w.Write(file)
	if cerr := w.Close(); err != nil || cerr != nil {
		panic("compressing into memory")
	}
	return b.Bytes()
}
