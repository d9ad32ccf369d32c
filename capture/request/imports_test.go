package request

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The package knows no machine: it can start no program, make no system call of
// its own, and reach neither the network interfaces nor the storage account. The
// Windows build is looked at as well, whose files are others.
func TestImports(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the go tool is not installed")
	}
	for _, goos := range []string{"linux", "windows"} {
		cmd := exec.CommandContext(t.Context(), goTool, "list", "-deps", "pcapctl/capture/request")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", goos, err)
		}
		packages := strings.Fields(string(out))
		if len(packages) < 20 {
			t.Fatalf("%s: %q", goos, packages)
		}
		for _, name := range packages {
			for _, bad := range []string{
				"os/exec", "golang.org/x/sys", "github.com/Azure", "pcapctl/storage/azblob",
				"pcapctl/capture/netif", "pcapctl/capture/source", "pcapctl/capture/save",
			} {
				if name == bad || strings.HasPrefix(name, bad+"/") && name != "pcapctl/storage/azblob/bloburl" {
					t.Errorf("%s: it imports %s", goos, name)
				}
			}
		}
	}
}
