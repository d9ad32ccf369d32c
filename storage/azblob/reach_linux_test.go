package azblob

import (
	"os"
	"slices"
	"testing"

	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

// A process that gives up the rest keeps the ports and files of its credential and its proxies, and may run programs
// for a login only.
func TestReach(t *testing.T) {
	const cloud, emulator = "https://account1.blob.core.windows.net", "http://127.0.0.1:10000/account1"
	sas := secret.New(sasWith())
	for _, tt := range []struct {
		name, endpoint string
		sas            secret.Text
		env            []string
		ports          []uint16
		files          []string
		programs       bool
	}{
		{"a SAS", cloud, sas, nil, []uint16{53, 443}, nil, false},
		{"the emulator", emulator, sas, nil, []uint16{53, 10000}, nil, false},
		{"proxies", cloud, sas, []string{"HTTPS_PROXY", "http://user:word@proxy:3128", "http_proxy", "proxy:8080"}, []uint16{53, 443, 3128, 8080}, nil, false},
		{"a proxy without a port", cloud, sas, []string{"HTTPS_PROXY", "socks5://proxy"}, []uint16{53, 443, 1080}, nil, false},
		{"a login", cloud, secret.Text{}, nil, []uint16{53, 80, 443, 40342}, nil, true},
		{"a login of development", cloud, secret.Text{}, []string{"AZURE_TOKEN_CREDENTIALS", "dev"}, []uint16{53, 80, 443, 40342}, nil, true},
		{"a login without programs", cloud, secret.Text{}, []string{
			"AZURE_TOKEN_CREDENTIALS", "prod", "AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/tokens/azure", "IDENTITY_ENDPOINT", "http://127.0.0.1:41741/MSI/token",
		}, []uint16{53, 80, 443, 40342, 41741}, []string{"/var/opt/azcmagent/tokens", "/var/run/secrets/tokens"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range slices.Concat(loginPlaces, []string{
				"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "AZURE_TOKEN_CREDENTIALS", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE",
				envSAS, envConnection, envKey,
			}) {
				t.Setenv(name, "") // so that it is as it was afterwards
				_ = os.Unsetenv(name)
			}
			for i := 0; i < len(tt.env); i += 2 {
				t.Setenv(tt.env[i], tt.env[i+1])
			}
			c, err := New(Options{Address: bloburl.Address{Endpoint: tt.endpoint, Account: "account1", Container: "captures", Name: "x"}, SAS: tt.sas})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if r := c.Reach(); !slices.Equal(r.Ports, tt.ports) || !slices.Equal(r.Files, tt.files) || r.Programs != tt.programs {
				t.Errorf("%+v", r)
			}
		})
	}
}
