package request

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// jsonNumber takes a number apart: sign, digits before the point, digits
// behind it, exponent (RFC 8259, section 6).
var jsonNumber = pattern(`^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$`)

// integer reads a whole number, also from a string: clients send both. 1e3 and
// 40.0 are whole numbers, too; JSON has no type of its own for them.
func (d *decoder) integer(v node, path string, b bounds) *int64 {
	if v.kind != kindNumber && v.kind != kindString && v.kind != kindWord {
		d.wrongType(v, path, "a whole number, "+b.String())
		return nil
	}
	parts := jsonNumber().FindStringSubmatch(strings.TrimSpace(v.text))
	if parts == nil {
		d.wrongType(v, path, "a whole number in decimal digits, "+b.String())
		return nil
	}
	n, err := wholeNumber(parts[1], parts[2], parts[3], parts[4])
	switch {
	case errors.Is(err, errNotWhole):
		d.wrongType(v, path, "a whole number, "+b.String())
		return nil
	case err != nil:
		d.fault(path, "%s is out of range; allowed: %s", v, b)
		return nil
	}
	return &n
}

var (
	errNotWhole = errors.New("not a whole number")
	errTooLarge = errors.New("too large a number")
)

// wholeNumber computes sign·whole.fraction·10^exponent without rounding, and
// without making a number of a million digits for an exponent of a million.
func wholeNumber(sign, whole, fraction, exponent string) (int64, error) {
	digits := strings.TrimLeft(whole+fraction, "0")
	point := len(whole) - (len(whole+fraction) - len(digits)) // digits before the point
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return 0, nil
	}
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			// Out of int's range: the result is far too large, or not whole.
			shift = math.MaxInt32
			if exponent[0] == '-' {
				shift = -math.MaxInt32
			}
		}
		shift = min(max(shift, -math.MaxInt32), math.MaxInt32)
	}
	point += shift
	switch {
	case point < len(digits):
		return 0, errNotWhole
	case point > len("9223372036854775807"):
		return 0, errTooLarge
	}
	n, err := strconv.ParseInt(sign+digits+strings.Repeat("0", point-len(digits)), 10, 64)
	if err != nil {
		return 0, errTooLarge
	}
	return n, nil
}
