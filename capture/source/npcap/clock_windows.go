package npcap

import (
	"time"

	"golang.org/x/sys/windows"
)

// systemTime is the time by the clock that packets have theirs from. time.Now is that of the last tick, up to 16 ms ago: packets that came
// since then would be later than a stop behind them.
func systemTime() time.Time {
	var now windows.Filetime
	windows.GetSystemTimePreciseAsFileTime(&now)
	return time.Unix(0, now.Nanoseconds())
}
