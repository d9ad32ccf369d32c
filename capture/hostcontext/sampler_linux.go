package hostcontext

import (
	"cmp"
	"os/user"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/container"
)

// Bounds of the sampler.
const (
	maxSockets = 20_000 // that are kept
	// maxTries is how often the process of a socket is looked for. The kernel has some of
	// its own, and others are of processes that this one may not look at.
	maxTries = 3
	// What the looks may take of a processor: a hundredth, and what was saved up.
	allowance    = 100
	maxAllowance = 400 * time.Millisecond
)

// entry is what is known of one socket.
type entry struct {
	Socket
	tries int
}

// sampler looks at sockets again and again.
type sampler struct {
	o       *observer
	f       *finder
	sockets map[uint64]*entry // by cookie
	lost    map[uint64]bool   // sockets that there is no room for
	order   []*entry
	users   map[uint32]string
	boxes   map[string]string // containers, by id
	places  container.Places
	did     Sampling
	last    time.Time
	credit  time.Duration // of a processor's time, what may be used
	used    time.Duration
	// tell is told of each socket that has a name now.
	tell func(*Socket)
}

func newSampler(o *observer, tell func(*Socket)) *sampler {
	places := container.ThisMachine()
	return &sampler{
		o: o, f: newFinder(places.Cgroups), sockets: map[uint64]*entry{}, lost: map[uint64]bool{}, users: map[uint32]string{}, boxes: map[string]string{},
		places: places, did: Sampling{EverySeconds: every.Seconds()}, credit: maxAllowance, tell: tell,
	}
}

// cpu is what the process has used of processors.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// due reports whether the sockets may be looked at again.
func (s *sampler) due(now time.Time) bool { return s.credit+now.Sub(s.last)/allowance > 0 }

// sample looks at the sockets.
func (s *sampler) sample() {
	now, before := time.Now(), cpu()
	if !s.last.IsZero() {
		pause := now.Sub(s.last)
		s.did.LongestPauseSeconds = max(s.did.LongestPauseSeconds, float64(pause.Milliseconds())/1000)
		s.credit = min(s.credit+pause/allowance, maxAllowance)
	}
	s.last = now
	s.did.Samples++
	s.look(now.UTC())
	used := cpu() - before
	s.credit -= used
	s.used += used
	s.did.CPUSeconds = float64(s.used.Milliseconds()) / 1000
}

func (s *sampler) look(now time.Time) {
	wanted := map[uint32]bool{}
	by := map[uint32]*entry{}
	err := s.o.diag.sockets(everyState&^(1<<stateTimeWait), func(k *seen) bool {
		e := s.sockets[k.cookie]
		if e == nil {
			e = s.add(k, now)
			if e == nil {
				return true
			}
		}
		e.Last, e.State = now, ""
		if k.protocol == unix.IPPROTO_TCP {
			e.State = stateName(k.protocol, k.state)[len("TCP "):]
		}
		if k.remote.IsValid() {
			e.Remote = k.remote // it is connected now
		}
		e.Local = k.local
		if e.Program == "" && k.inode != 0 && e.tries < maxTries {
			wanted[k.inode] = true
			by[k.inode] = e
		}
		return true
	})
	if err != nil {
		s.o.problem("the sockets cannot be listed: %v", err)
	}
	if len(wanted) == 0 {
		return
	}
	for _, e := range by {
		e.tries++
	}
	s.f.find(wanted, func(inode uint32, p *process) {
		e := by[inode]
		e.PID, e.Program = p.pid, clean(p.program)
		if c := clean(p.command); c != e.Program {
			e.Command = c
		}
		e.Container = s.containerOf(p.container, p.sure)
		s.did.SocketsNamed++
		s.tell(&e.Socket)
	})
}

// add notes a socket that was not there before. nil: there is no room for it.
func (s *sampler) add(k *seen, now time.Time) *entry {
	if len(s.order) == maxSockets {
		if !s.lost[k.cookie] && len(s.lost) < 10*maxSockets {
			s.lost[k.cookie] = true
			s.did.SocketsNotKept++
		}
		return nil
	}
	e := &entry{Socket: Socket{Protocol: "TCP", Local: k.local, Remote: k.remote, UID: k.uid, User: s.userOf(k.uid), First: now}}
	if k.protocol == unix.IPPROTO_UDP {
		e.Protocol = "UDP"
	}
	s.sockets[k.cookie] = e
	s.order = append(s.order, e)
	s.did.SocketsSeen++
	return e
}

// maxNames bounds how many users and containers are looked up.
const maxNames = 256

func (s *sampler) userOf(uid uint32) string {
	name, known := s.users[uid]
	if !known && len(s.users) < maxNames {
		if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
			name = clean(u.Username)
		}
		s.users[uid] = name
	}
	return name
}

// containerOf is a container in words. One is named by its id alone unless it is sure that the process is in it.
func (s *sampler) containerOf(id string, sure bool) string {
	short := id[:min(len(id), 12)]
	if id == "" || !sure {
		return short
	}
	name, known := s.boxes[id]
	if !known {
		name = short
		if len(s.boxes) < maxNames {
			name = cut(cleanText(container.Describe(id, s.places)), 3*maxWord)
			s.boxes[id] = name
		}
	}
	return name
}

// list are the sockets, in the order in which they were seen.
func (s *sampler) list() []Socket {
	list := make([]Socket, len(s.order))
	for i, e := range s.order {
		list[i] = e.Socket
	}
	slices.SortStableFunc(list, func(a, b Socket) int { return cmp.Or(a.First.Compare(b.First), a.Local.Compare(b.Local)) })
	return list
}
