package tuning

// Files is what a test plays the kernel's files by.
type Files = files

// Replace makes b a box whose files, features and page size are a test's.
func Replace(b *Box, f Files, features Features, pageSize uint64) {
	b.files, b.pageSize = f, pageSize
	b.probe = func() Features { return features }
}

// OpenError makes err a refusal at opening a file, as Files.Write returns it.
func OpenError(err error) error { return &openError{err} }
