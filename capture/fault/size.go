package fault

import (
	"math/bits"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size writes a number of bytes, which is not negative, for people. What is just below a unit is that unit: 1.0 GiB and not
// 1024 MiB, as it would be by rounding.
func Size(n int64) string {
	text := humanize.IBytes(uint64(n))
	if strings.HasPrefix(text, "1024 ") {
		return humanize.IBytes(1 << bits.Len64(uint64(n)))
	}
	return text
}
