package storage

// Taken takes over what another process has written by the descriptor of Open, and
// nobody else writes to any more: the file is complete as it is. It begins and ends as it
// does now when Finish looks.
func (f *File) Taken() error {
	st, err := f.f.Stat()
	if err != nil {
		return err
	}
	begin := make([]byte, min(st.Size(), beginLen))
	if _, err := f.f.ReadAt(begin, 0); err != nil {
		return err
	}
	f.size, f.begin = st.Size(), begin
	return nil
}
