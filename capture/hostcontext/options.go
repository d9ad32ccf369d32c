package hostcontext

// Options say what is looked at. They are settled when the process starts.
type Options struct {
	// Netns is the network namespace, as netif.In takes it; "" is that of this process.
	Netns string
	// Host, Session and Capture are those of a Document.
	Host, Session, Capture string
	// Tell says that sockets are told as soon as they have a name (Sampler.Sockets).
	Tell bool
}

// Told is what came of it.
type Told struct {
	Size     int64 // of the file
	Complete bool
	Sockets  int      // that were seen
	Named    int      // whose program is known
	Problems []string // what could not be looked at or written
}
