package request

import (
	"strings"
	"testing"
)

func TestSyntaxFaults(t *testing.T) {
	tests := []struct {
		name, body string
		want       []string
	}{
		{"comma between members", "{\"name\":\"a\"\n\"id\":1}", []string{"line 1, column 12: a comma is missing between two members: write a comma here, before \"id\"\n{\"name\":\"a\"\n           ^"}},
		{"comma between objects of a list", `[{} {}]`, []string{"line 1, column 4: a comma is missing between two values of a list", ": the request is a list"}},
		{"comma between strings of a list", props(`"scope":{"include":["a" "b"]}`), []string{"line 1, column 39: a comma is missing between two values"}},
		{"trailing comma in an object", `{"name":"a",}`, []string{`line 1, column 12: a comma before the closing "}"`}},
		{"trailing comma in a list", props(`"filters":[{},]`), []string{`line 1, column 29: a comma before the closing "]"`}},
		{"leading comma", `{,"name":"a"}`, []string{"line 1, column 2: a comma too many"}},
		{"two commas", `{"name":"a",,"id":1}`, []string{"line 1, column 13: a comma too many"}},
		{"semicolon", `{"name":"a";"id":1}`, []string{"line 1, column 12: a semicolon"}},
		{"equals sign", `{"name"="a"}`, []string{"line 1, column 8: an equals sign"}},
		{"no colon", `{"name" "a"}`, []string{`line 1, column 8: a colon is missing between the name "name" and its value`}},

		{"backslashes", `{"name":"C:\Captures\new\x.cap"}`, []string{`line 1, column 12: a backslash in a JSON string is written twice: write "C:\\Captures\\new\\x.cap"`}},
		{"one fault a literal", `{"name":"C:\a\b\c","id":"\d\e"}`, []string{`line 1, column 12: …"C:\\a\\b\\c"`, `line 1, column 26: …"\\d\\e"`}},
		{"doubled ones stay", `{"name":"C:\\a\b\q \"x\""}`, []string{`line 1, column 17: …write "C:\\a\\b\\q \"x\""`}},
		{"\\u of no number", `{"name":"C:\users"}`, []string{`line 1, column 12: …write "C:\\users"`}},
		{"\\u cut short", `{"name":"C:\u12"}`, []string{`line 1, column 12: …write "C:\\u12"`}},
		{"backslash before the quote", "{\"name\":\"C:\\\\Captures\\\",\n\"id\":1}", []string{`line 1, column …: a backslash in a JSON string is written twice: write "C:\\Captures\\"`}},
		{"unclosed with backslash", `{"name":"C:\x`, []string{"line 1, column 12: …not closed on its line"}},
		{"unclosed", "{\"name\":\"a,\n\"id\":1}", []string{"line 1, column 9: this string is not closed on its line"}},
		{"tab in a string", "{\"name\":\"a\tb\"}", []string{"line 1, column 11: a control character (U+0009)"}},

		{"comments", "{ // one\n\"name\":\"a\", /* two\n*/ \"id\":1 # three\n}", []string{"line 1, column 3: JSON has no comments", "line 2, column 13: JSON has no comments", "line 3, column 11: JSON has no comments"}},
		{"open comment", "{ /* one", []string{"line 1, column 3: JSON has no comments"}},
		{"a single quote alone", `{'name:1}`, []string{"line 1, column 2: a single quote: JSON writes"}},
		{"single quotes and a comma missing", "{'name':'a'\n 'properties':{}}", []string{`line 1, column 12: a comma is missing between two members: write a comma here, before "properties"`}},
		{"typographic quotes", "{“name”:1}", []string{"line 1, column 2: “ is a typographic quote"}},
		{"bare name", `{name:"a"}`, []string{`line 1, column 2: a member's name stands in double quotes: write "name"`}},
		{"bare value", `{"name":pc1}`, []string{`line 1, column 9: "pc1" stands without quotes: write "pc1"`}},
		{"Python's words", props(`"continuousCapture":True,"target":None,"name":FALSE`), []string{
			"line 1, column 36: True is not JSON: write true", "line 1, column 50: None is not JSON: write null", "line 1, column 62: FALSE is not JSON: write false",
			`properties.name: there is no member "name" here; it belongs at the top`,
		}},
		{"word that begins well", `{"id":tRUE}`, []string{"line 1, column 7: tRUE is not JSON: write true"}},
		{"leading zero", `{"id":007}`, []string{`line 1, column 7: "007" is not a valid JSON number`}},
		{"unit", `{"id":40KB}`, []string{`line 1, column 7: "40KB" is not a valid JSON number`}},
		{"plus", `{"id":+4}`, []string{`line 1, column 7: "+4" is not a valid JSON number`}},
		{"point", `{"id":4.}`, []string{`line 1, column 7: "4." is not a valid JSON number`}},

		{"no JSON", "name: x", []string{`line 1, column 1: this is not JSON: a request begins with "{"`}},
		{"trailing data", "{\"name\":\"a\"}\n{}", []string{`line 2, column 1: the request ends before this "{": nothing may follow it`}},
		{"trailing brace", `{"name":"a"}}`, []string{`line 1, column 13: the request ends before this "}"`}},
		{"trailing NUL", "{}\x00", []string{"line 1, column 3: the request ends before this U+0000"}},
		{"wrong bracket", "{\"filters\":\n[1}", []string{`line 2, column 3: "}" does not close the "[" of line 2, column 1`}},
		{"cut off", "{\"properties\":{\"filters\":[", []string{`line 1, column 27: the text ends too early: the "[" of line 1, column 26 is not closed`}},
		{"cut off, and a line feed", "{\"id\":[\n", []string{"line 1, column 8: the text ends too early: the \"[\" of line 1, column 7 is not closed\n{\"id\":[\n       ^"}},
		{"cut off in a word", "tru", []string{`line 1, column 4: the text ends in the middle of tru`}},
		{"something else", `{"id":@}`, []string{`line 1, column 7: "@" stands without quotes`}},
		{"control character", "{\"id\":\x01}", []string{"line 1, column 7: "}},
		{"not a name", `{1:2}`, []string{`line 1, column 2: "1" is not expected here; allowed: a member's name in double quotes, or "}"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.body))
			checkFaults(t, err, tt.want...)
		})
	}
}

func TestSyntaxFaultsAreBounded(t *testing.T) {
	req, err := Decode([]byte("{" + strings.Repeat(",", 1000) + "}"))
	if got := details(t, err); len(got) != maxRounds || req != nil {
		t.Errorf("%d faults, request %v", len(got), req)
	}
}

func TestSnippet(t *testing.T) {
	tests := []struct {
		name, text string
		offset     int
		want       string
	}{
		{"first line", "abc\ndef", 1, "abc\n ^"},
		{"last line", "abc\ndef", 6, "def\n  ^"},
		{"end of the text", "abc", 3, "abc\n   ^"},
		{"past the end", "abc", 9, "abc\n   ^"},
		{"end of a line", "abc\r\nd", 3, "abc\n   ^"},
		{"indentation goes", "\t  abc", 4, "abc\n ^"},
		{"tabs stay tabs", "a\tb\tc", 4, "a\tb\tc\n \t \t^"},
		{"characters, not bytes", "äöx", 4, "äöx\n  ^"},
		{"nothing a terminal obeys", "a\x1b[31mx", 6, "a?[31mx\n      ^"},
		{"signature", `"x?sig=abc&y" z`, 14, `"x?sig=***&y" z` + "\n              ^"},
		{"empty", "", 0, "\n^"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := snippet([]byte(tt.text), tt.offset); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestSnippetWindow(t *testing.T) {
	long := strings.Repeat("a", 500) + "X" + strings.Repeat("b", 500)
	line, caret, _ := strings.Cut(snippet([]byte(long), 500), "\n")
	runes := []rune(line)
	if len(runes) != snippetW || runes[0] != '…' || runes[len(runes)-1] != '…' {
		t.Errorf("window %q", line)
	}
	if at := strings.IndexByte(caret, '^'); runes[at] != 'X' {
		t.Errorf("the caret points to %q", runes[at])
	}
	line, _, _ = strings.Cut(snippet([]byte(long), 0), "\n")
	if runes := []rune(line); runes[0] != 'a' || runes[len(runes)-1] != '…' {
		t.Errorf("window at the start %q", line)
	}
	line, caret, _ = strings.Cut(snippet([]byte(long), len(long)), "\n")
	if runes := []rune(line); runes[0] != '…' || runes[len(runes)-1] != 'b' || len(caret) != snippetW+1 {
		t.Errorf("window at the end %q %q", line, caret)
	}
}

func TestPositionOf(t *testing.T) {
	text := []byte("a\n\täb\r\nc")
	for offset, want := range map[int]string{
		0: "line 1, column 1", 1: "line 1, column 2", 2: "line 2, column 1", 3: "line 2, column 2", 5: "line 2, column 3", 8: "line 3, column 1", 99: "line 3, column 2",
	} {
		if got := positionOf(text, offset).String(); got != want {
			t.Errorf("%d: got %s, want %s", offset, got, want)
		}
	}
}
