package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pcapctl/storage/secret"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const hidden = "sv=2024&sig=hidden"
	s := secret.New(hidden)
	holder := struct {
		Public secret.Text
		inner  secret.Text
		list   []secret.Text
		by     map[string]secret.Text
		ptr    *secret.Text
	}{s, s, []secret.Text{s}, map[string]secret.Text{"k": s}, &s}
	printed := make([]string, 0, 64)
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q", "%x", "%X", "%d", "%T", "%p"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, holder), fmt.Sprintf(verb, &holder))
	}
	printed = append(printed, fmt.Sprint(s), s.String(), s.GoString())
	for _, v := range []any{s, holder, map[string]any{"s": s}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, string(text))
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("m", "s", s, "holder", holder)
	}
	printed = append(printed, log.String())
	for i, p := range printed {
		if strings.Contains(p, "hidden") || strings.Contains(strings.ToLower(p), fmt.Sprintf("%x", "hidden")) {
			t.Errorf("print %d shows the secret: %s", i, p)
		}
	}
	if got := fmt.Sprint(s); got != "REDACTED" {
		t.Errorf("printed as %q", got)
	}
	if text, _ := s.MarshalText(); string(text) != "REDACTED" {
		t.Errorf("marshalled as %q", text)
	}
	if got := s.LogValue().String(); got != "REDACTED" {
		t.Errorf("logged as %q", got)
	}
	if s.Reveal() != hidden {
		t.Errorf("revealed as %q", s.Reveal())
	}
}

func TestSecretZeroAndEqual(t *testing.T) {
	var zero secret.Text
	if !zero.IsZero() || zero.String() != "" || zero.Reveal() != "" || !secret.New("").IsZero() {
		t.Error("the zero secret is not empty")
	}
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) || secret.New("a").Equal(zero) || !zero.Equal(secret.Text{}) {
		t.Error("Equal does not compare the strings")
	}
}
