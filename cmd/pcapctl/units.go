package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"pcapctl/capture/fault"
)

// errNotDuration is the error of a text that is not a duration.
var errNotDuration = errors.New("not a duration")

// durationOf parses a duration as every flag and setting takes it: Go's notation
// (90s, 1h30m), days (7d), or a number by itself, which is seconds.
func durationOf(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		hours := n * float64(24*time.Hour)
		if err != nil || math.IsNaN(n) || math.Abs(hours) >= math.MaxInt64 {
			return 0, errNotDuration
		}
		return time.Duration(hours), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		return 0, errNotDuration
	}
	return d, nil
}

// wholeNumber parses a number for a member of the request, which has bounds of
// its own.
func wholeNumber(text string) (*int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is not a whole number", fault.Quote(text))
	}
	return &n, nil
}

// byteCount parses a number of bytes for a member of the request: a whole number,
// or a size with a unit. The request has bounds of its own.
func byteCount(text string) (*int64, error) {
	if n, err := wholeNumber(text); err == nil {
		return n, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return nil, fmt.Errorf("%s is not a whole number of bytes or a size such as 10MB or 64KiB", fault.Quote(text))
	}
	return new(int64(n)), nil
}

// secondCount parses a number of seconds for a member of the request: a whole
// number, or a duration with a unit. The request has bounds of its own.
func secondCount(text string) (*int64, error) {
	if n, err := wholeNumber(text); err == nil {
		return n, nil
	}
	d, err := durationOf(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is not a whole number of seconds or a duration such as 10s, 5m or 1h", fault.Quote(text))
	case d%time.Second != 0:
		return nil, fmt.Errorf("%s is not a whole number of seconds", fault.Quote(text))
	}
	return new(int64(d / time.Second)), nil
}

// sizeText writes a number of bytes for people.
func sizeText(n int64) string { return fault.Size(n) }
