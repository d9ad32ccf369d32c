package capfile

import (
	"fmt"
	"math"
	"sync"
	"time"

	"pcapctl/capture/pcapfile"
)

// odd tells what of a packet could not be taken as it is: a pcapfile.Oddity, and
// what this package adds.
type odd uint8

// oddTime is a time that a classic pcap file cannot hold.
const oddTime odd = 1 << 7

// isOddTime tells a time before 1970 or after 2106.
func isOddTime(p *pcapfile.Packet) bool { return p.Sec < 0 || p.Sec > math.MaxUint32 }

// nearestTime is the time nearest to an odd one that a classic pcap file can hold.
func nearestTime(sec int64) (int64, uint32) {
	if sec < 0 {
		return 0, 0
	}
	return math.MaxUint32, 999_999_999
}

// leap is a time between two packets that is more likely a clock that was set.
const leap = 365 * 24 * time.Hour

// tally counts packets and knows the first of them, by its number.
type tally struct{ n, first uint64 }

func (t *tally) add(number uint64) {
	if t.n++; t.n == 1 {
		t.first = number
	}
}

// oddities count what was odd in a file. They are safe for concurrent use.
type oddities struct {
	mu      sync.Mutex
	of      [8]tally // by the bits of odd
	blind   tally    // packets that filters could not look into
	leapAt  uint64   // the number of the packet that ended the time limit by a leap; 0 for none
	leapFor time.Duration
}

// note counts a packet or block.
func (o *oddities) note(what odd, number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for bit := range o.of {
		if what&(1<<bit) != 0 {
			o.of[bit].add(number)
		}
	}
}

func (o *oddities) cannotLookInto(t tally) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.blind = t
}

func (o *oddities) leapt(number uint64, after time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leapAt, o.leapFor = number, after
}

// warnings tell what was odd, one sentence for each kind. ng tells a pcapng file
// that is written, and kept one that has the blocks of the file that is read.
func (o *oddities) warnings(ng, kept bool) (list []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	add := func(t tally, format string, args ...any) {
		if t.n > 0 {
			list = append(list, fmt.Sprintf(format+"; the first is packet %d", append(args, t.first)...))
		}
	}
	for bit, t := range o.of {
		have := count(t.n, "packet has", "packets have")
		switch odd(1) << bit {
		case oddTime:
			what := "the file has the nearest time that classic pcap can hold"
			if ng {
				what = "it is written as it is"
			}
			add(t, "%s a time outside 1970 to 2106: %s", have, what)
		case odd(pcapfile.OddLength):
			add(t, "%s more than %d bytes: the first %d are recorded", have, pcapfile.MaxPacket, pcapfile.MaxPacket)
		case odd(pcapfile.OddClock):
			add(t, "%s an interface whose description is not valid, so that its times may be wrong: they are read as microseconds since 1970 where it does not tell otherwise", have)
		case odd(pcapfile.OddOptions):
			if kept {
				add(t, "options of %s are not valid, or too many to be kept: what is valid before them is kept", count(t.n, "packet or other block", "packets or other blocks"))
			}
		case odd(pcapfile.OddBlock):
			add(t, "%s larger than %d MiB that stood before packets left out", count(t.n, "block", "blocks"), pcapfile.MaxBlock>>20)
		}
	}
	if t := o.blind; t.n > 0 {
		add(t, "%s of link types that filters cannot look into: left out", count(t.n, "packet is", "packets are"))
	}
	if o.leapAt > 0 {
		list = append(list, fmt.Sprintf("packet %d, with which the time limit ended the capture, is %d days later than the first packet: a clock was probably set in between; leave out the time limit to record what follows",
			o.leapAt, o.leapFor/(24*time.Hour)))
	}
	return list
}

func count(n uint64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}
