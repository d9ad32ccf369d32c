package capture

import "pcapctl/storage"

// Secret is a string that must not be seen, such as a SAS. It lives in package
// storage, which uses it and knows nothing of capture.
type Secret = storage.Secret

// NewSecret keeps a string from being seen.
func NewSecret(s string) Secret { return storage.NewSecret(s) }
