package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const hidden = "sv=2024&sig=hidden"
	s := New(hidden)
	holder := struct {
		Public Text
		inner  Text
		list   []Text
		by     map[string]Text
		ptr    *Text
	}{s, s, []Text{s}, map[string]Text{"k": s}, &s}
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
	var zero Text
	if !zero.IsZero() || zero.String() != "" || zero.Reveal() != "" || !New("").IsZero() {
		t.Error("the zero secret is not empty")
	}
	if !New("a").Equal(New("a")) || New("a").Equal(New("b")) || New("a").Equal(zero) || !zero.Equal(Text{}) {
		t.Error("Equal does not compare the strings")
	}
}
