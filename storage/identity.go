package storage

// FileID tells a file from every other one, also from a later one that was
// given its inode: the birth of a file never changes. The zero FileID is no
// file's.
type FileID struct {
	Device, Inode uint64
	Birth         int64 // Unix nanoseconds; 0 where the file system does not keep it
}
