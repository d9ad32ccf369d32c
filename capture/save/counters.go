package save

import "sync/atomic"

// Counters tell what a recorder has come to. Anyone may read them.
type Counters struct {
	packets atomic.Uint64 // recorded, those in memory included
	bytes   atomic.Uint64 // of packet data recorded
	size    atomic.Int64  // of the file, with what is in memory
	// What was recorded and then could not be written.
	lost, lostBytes atomic.Uint64
	// What is in the file.
	writtenPackets, writtenBytes atomic.Uint64
	writtenSize                  atomic.Int64
	total                        atomic.Int64 // bytes in all files of the session, those that are gone included
}

// Written is what is in the file already. A process that is killed loses
// nothing of it.
type Written struct {
	Packets uint64
	Bytes   uint64 // of packet data
	Size    int64  // bytes of the file; a packet ends here
}

// Count is one reading of the counters. Each is right by itself.
type Count struct {
	Packets uint64 // recorded, and not lost since
	Bytes   uint64 // of packet data recorded
	Size    int64  // bytes of the file, with what is about to be written
	Lost    uint64 // packets that the disk did not take
	Written Written
}

// Count reads the counters.
func (c *Counters) Count() Count {
	lost := c.lost.Load()
	return Count{
		Packets: c.packets.Load() - lost,
		Bytes:   c.bytes.Load() - c.lostBytes.Load(),
		Size:    c.size.Load(),
		Lost:    lost,
		Written: Written{Packets: c.writtenPackets.Load(), Bytes: c.writtenBytes.Load(), Size: c.writtenSize.Load()},
	}
}

// began notes that a file of size bytes is there, with its header.
func (c *Counters) began(size int64) {
	c.writtenSize.Store(size)
	c.total.Add(size)
}

// wrote notes that a chunk is in the file, which now has size bytes and grew by
// grown.
func (c *Counters) wrote(ch Chunk, size, grown int64) {
	c.writtenPackets.Store(ch.Packets - c.lost.Load())
	c.writtenBytes.Store(ch.Bytes - c.lostBytes.Load())
	c.writtenSize.Store(size)
	c.total.Add(grown)
}

// lose notes that of a chunk only the first kept bytes are in a file.
func (c *Counters) lose(ch Chunk, kept int, whole func([]byte) (packets, data, size int)) {
	packets, data, _ := whole(ch.Buf)
	keptPackets, keptData, _ := whole(ch.Buf[:kept])
	c.lost.Add(uint64(packets - keptPackets))
	c.lostBytes.Add(uint64(data - keptData))
}
