package save

import "sync/atomic"

// Counters tell what a recorder has come to. Anyone may read them.
type Counters struct {
	packets atomic.Uint64 // recorded, those in memory included
	bytes   atomic.Uint64 // of packet data recorded
	size    atomic.Int64  // of the file, with what is in memory
	// What was recorded and then could not be written.
	lost, lostBytes atomic.Uint64
	// What was recorded and then came too late, as the disk reserve was reached.
	spent, spentBytes atomic.Uint64
	late              atomic.Uint64 // packets that came too late to be recorded
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
	Late    uint64 // packets that came after what ended the capture
	Written Written
}

// Count reads the counters.
func (c *Counters) Count() Count {
	lost, spent := c.lost.Load(), c.spent.Load()
	return Count{
		Packets: c.packets.Load() - lost - spent,
		Bytes:   c.bytes.Load() - c.lostBytes.Load() - c.spentBytes.Load(),
		Size:    c.size.Load(),
		Lost:    lost,
		Late:    c.late.Load() + spent,
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
	c.writtenPackets.Store(ch.Packets - c.gone())
	c.writtenBytes.Store(ch.Bytes - c.lostBytes.Load() - c.spentBytes.Load())
	c.writtenSize.Store(size)
	c.total.Add(grown)
}

// Spent reports whether some of what was recorded had no room above the disk
// reserve.
func (c *Counters) Spent() bool { return c.spent.Load() > 0 }

// gone is how many of the packets that were recorded are in no file.
func (c *Counters) gone() uint64 { return c.lost.Load() + c.spent.Load() }

// lose notes that of a chunk only the first kept bytes are in a file.
func (c *Counters) lose(ch Chunk, kept int, whole func([]byte) (packets, data, size int)) {
	packets, data := behind(ch.Buf, kept, whole)
	c.lost.Add(packets)
	c.lostBytes.Add(data)
}

// cut notes that only the first kept bytes of a chunk have room above the disk
// reserve.
func (c *Counters) cut(ch Chunk, kept int, whole func([]byte) (packets, data, size int)) {
	packets, data := behind(ch.Buf, kept, whole)
	c.spent.Add(packets)
	c.spentBytes.Add(data)
}

// behind are the packets of some records behind the first kept bytes.
func behind(buf []byte, kept int, whole func([]byte) (packets, data, size int)) (packets, data uint64) {
	n, all, _ := whole(buf)
	keptPackets, keptData, _ := whole(buf[:kept])
	return uint64(n - keptPackets), uint64(all - keptData)
}

// loseAll notes that the file is lost, with all that was in it.
func (c *Counters) loseAll() {
	c.lost.Store(c.packets.Load() - c.spent.Load())
	c.lostBytes.Store(c.bytes.Load() - c.spentBytes.Load())
	c.writtenPackets.Store(0)
	c.writtenBytes.Store(0)
}
