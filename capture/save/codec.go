package save

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"pcapctl/capture/request"
)

// codec compresses a file piece by piece.
type codec interface {
	// encode appends a piece, which can be read when all up to it is there. It
	// does not keep it.
	encode(out, piece []byte) ([]byte, error)
	// end appends what ends the file.
	end(out []byte) ([]byte, error)
}

func newCodec(compress string) (codec, error) {
	if compress == request.CompressGzip {
		return newGzipCodec()
	}
	return newZstdCodec()
}

// gzipCodec makes a gzip member of each piece: a file of several is one for all
// readers (RFC 1952, section 2.2), and one that was cut behind a member is good.
type gzipCodec struct {
	w   *gzip.Writer
	out bytes.Buffer
}

func newGzipCodec() (codec, error) {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return &gzipCodec{w: w}, err
}

func (c *gzipCodec) encode(out, piece []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	c.w.Reset(&c.out)
	if _, err := c.w.Write(piece); err != nil {
		return out, err
	}
	err := c.w.Close()
	return c.out.Bytes(), err
}

func (*gzipCodec) end(out []byte) ([]byte, error) { return out, nil }

// zstdCodec makes one frame of the whole file, of which each piece is flushed.
// A frame for each piece would be good also when the file is cut, but Wireshark
// 4.0 loses its way at the second frame of a file.
type zstdCodec struct {
	w   *zstd.Encoder
	out bytes.Buffer
}

func newZstdCodec() (codec, error) {
	c := &zstdCodec{}
	// It runs in a goroutine of its own already; more would only take processors from
	// those whose packets are captured.
	w, err := zstd.NewWriter(&c.out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	c.w = w
	return c, err
}

// zstdWindow is as far as packets are alike; a larger one would cost memory.
const zstdWindow = 1 << 20

func (c *zstdCodec) encode(out, piece []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	if _, err := c.w.Write(piece); err != nil {
		return out, err
	}
	err := c.w.Flush()
	return c.out.Bytes(), err
}

func (c *zstdCodec) end(out []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	err := c.w.Close()
	return c.out.Bytes(), err
}
