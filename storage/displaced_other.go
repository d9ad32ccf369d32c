//go:build !linux && !windows

package storage

import (
	"errors"
	"os"
)

func (*File) look() *Displaced { return nil }

func (d *Folder) look() (now string, why displacement) { return d.path, 0 }

func linkOf(*os.File) (string, error) { return "", errors.ErrUnsupported }
