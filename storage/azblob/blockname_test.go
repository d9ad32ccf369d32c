package azblob

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestChain(t *testing.T) {
	b := content(1 << 20)
	for _, at := range []int{64, 4096, 512 << 10} {
		h := sha256.New()
		_, _ = h.Write(b[:at])
		c, err := chain(h)
		if err != nil {
			t.Fatal(err)
		}
		r, err := resumeHash(c, int64(at))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.Write(b[at:])
		if got := hex.EncodeToString(r.Sum(nil)); got != hexSum(b) {
			t.Errorf("resumed at %d: %s, want %s", at, got, hexSum(b))
		}
	}
}

func TestBlockSize(t *testing.T) {
	for limit, want := range map[int64]int64{
		0: 32 << 20, 24: 4 << 20, 1 << 30: 4 << 20, 4294967295: 4 << 20,
		50_000 * 4 << 20: 4 << 20, 50_000*4<<20 + 1: 5 << 20, 1 << 62: 4000 << 20,
	} {
		if got := BlockSize(limit); got != want {
			t.Errorf("BlockSize(%d) = %d, want %d", limit, got, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(blockName{file: fileID([]byte("x")), index: 7, size: 4 << 20}.String())
	f.Add("AAAA")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseName(s)
		if !ok {
			return
		}
		if len(s) == nameLen && n.String() != s {
			t.Errorf("%q came back as %q", s, n)
		}
		if again, ok := parseName(n.String()); !ok || again != n {
			t.Errorf("%q does not come back", n)
		}
	})
}
