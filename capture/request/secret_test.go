package request

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

func TestConfigDoesNotShowItsSecret(t *testing.T) {
	const hidden = "sv=2024&sig=hidden"
	blob := &Blob{Address: bloburl.Address{Endpoint: "https://a.blob.core.windows.net", Account: "a", Container: "c", Name: "x.cap"}, SAS: secret.New(hidden)}
	c := &Config{Name: "pc1", Blob: blob}
	text, err := json.Marshal(blob)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", *blob), fmt.Sprintf("%x", *blob), string(text)} {
		if strings.Contains(p, "hidden") || strings.Contains(p, fmt.Sprintf("%x", "hidden")) {
			t.Errorf("printed: %s", p)
		}
	}
	if blob.SAS.Reveal() != hidden {
		t.Errorf("revealed as %q", blob.SAS.Reveal())
	}
}
