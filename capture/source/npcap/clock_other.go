//go:build !windows

package npcap

import "time"

func systemTime() time.Time { return time.Now() }
