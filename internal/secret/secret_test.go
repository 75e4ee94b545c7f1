package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/secret"
)

const word = "tiger-lily-0451"

// appearances lists how the word would look if a formatter or encoder let it through.
func appearances() []string {
	b := []byte(word)
	decimal := strings.Trim(fmt.Sprint(b), "[]")
	commas := strings.ReplaceAll(decimal, " ", ", ")
	return []string{
		word, word[:6], hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), fmt.Sprintf("% x", b),
		decimal, commas, strings.ReplaceAll(decimal, " ", ","), fmt.Sprintf("%#v", b), fmt.Sprintf("%o", b), fmt.Sprintf("%b", b),
		base64.StdEncoding.EncodeToString(b), strconv.Quote(word), fmt.Sprintf("%U", b), fmt.Sprintf("%c", b),
	}
}

func check(t *testing.T, how, out string) {
	t.Helper()
	for _, a := range appearances() {
		if strings.Contains(out, a) {
			t.Errorf("%s shows the secret: %s", how, out)
			return
		}
	}
}

type hidden struct {
	name string
	s    secret.Bytes
}

type open struct {
	Name string
	S    secret.Bytes
	P    *secret.Bytes
}

type deep struct {
	In  hidden
	Ptr *hidden
	Any any
	L   []open
	M   map[string]hidden
	A   [2]secret.Bytes
}

type withError struct {
	hidden
	err error
}

func (w withError) Error() string { return fmt.Sprintf("%v: %+v", w.err, w.hidden) }

// shapes are the ways in which a secret gets in front of a formatter.
func shapes() map[string]any {
	s := secret.New([]byte(word))
	h := hidden{name: "n", s: s}
	o := open{Name: "n", S: s, P: &s}
	d := deep{In: h, Ptr: &h, Any: o, L: []open{o}, M: map[string]hidden{"k": h}, A: [2]secret.Bytes{s, s}}
	return map[string]any{
		"value": s, "pointer": &s, "unexported field": h, "pointer to struct": &h, "exported field": o,
		"nested": d, "pointer to nested": &d, "slice": []secret.Bytes{s}, "slice of pointers": []*secret.Bytes{&s},
		"map": map[string]secret.Bytes{"k": s}, "array": [1]hidden{h}, "interface": []any{s, h, &d},
		"error": withError{h, errors.New("failed")},
	}
}

func TestNoVerbPrints(t *testing.T) {
	t.Parallel()
	for name, v := range shapes() {
		for verb := rune('A'); verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", "0", "-", " ", "+#", "20", ".3", "#+020.10"} {
				format := "%" + flags + string(verb)
				check(t, name+" with "+format, fmt.Sprintf(format, v))
			}
		}
		check(t, name+" with Println", fmt.Sprintln(v))
		check(t, name+" in an error", fmt.Errorf("doing: %w", fmt.Errorf("inner %v %+v", v, v)).Error())
	}
	s := secret.New([]byte(word))
	if got := fmt.Sprintf("%v %s %x %#v %d", s, s, s, s, s); got != strings.TrimSpace(strings.Repeat("(redacted) ", 5)) {
		t.Errorf("got %q", got)
	}
	if s.String() != "(redacted)" || s.GoString() != "(redacted)" {
		t.Error("String or GoString is not the fixed text")
	}
}

func TestNoEncoderWrites(t *testing.T) {
	t.Parallel()
	encoders := map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"xml":  xml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
	}
	for how, encode := range encoders {
		for name, v := range shapes() {
			out, _ := encode(v) // a shape with nothing exported encodes to nothing, without an error
			check(t, name+" as "+how, string(out))
		}
		s := secret.New([]byte(word))
		for name, v := range map[string]any{"value": s, "pointer": &s, "field": open{S: s}} {
			if _, err := encode(v); !errors.Is(err, secret.ErrEncode) && (err == nil || !strings.Contains(err.Error(), secret.ErrEncode.Error())) {
				t.Errorf("%s of a %s: %v, want ErrEncode", how, name, err)
			}
		}
	}
	s := secret.New([]byte(word))
	for how, f := range map[string]func() ([]byte, error){"JSON": s.MarshalJSON, "text": s.MarshalText, "binary": s.MarshalBinary} {
		if b, err := f(); b != nil || !errors.Is(err, secret.ErrEncode) {
			t.Errorf("%s: %q, %v", how, b, err)
		}
	}
}

func TestNoLoggerWrites(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		for name, v := range shapes() {
			slog.New(h).Error("failed", name, v, slog.Group("g", "v", v))
		}
	}
	check(t, "slog", out.String())
}

func TestBytes(t *testing.T) {
	t.Parallel()
	var zero secret.Bytes
	if zero.Len() != 0 || zero.Expose() != nil || !zero.Equal(secret.New(nil)) || fmt.Sprint(zero) != "(redacted)" {
		t.Error("the zero value is not an empty secret")
	}
	zero.Wipe()

	b := []byte(word)
	s := secret.New(b)
	same, clone := s, s.Clone()
	if string(s.Expose()) != word || s.Len() != len(word) {
		t.Error("Expose or Len")
	}
	if !s.Equal(clone) || s.Equal(secret.New([]byte("tiger-lily-0452"))) || s.Equal(zero) || s.Equal(secret.New([]byte("tiger"))) {
		t.Error("Equal")
	}
	s.Wipe()
	if !bytes.Equal(b, make([]byte, len(word))) || !same.Equal(s) {
		t.Error("Wipe did not reach every copy")
	}
	if string(clone.Expose()) != word {
		t.Error("Wipe reached a clone")
	}

	x, y := secret.Random(32), secret.Random(32)
	if x.Len() != 32 || x.Equal(y) || x.Equal(secret.New(make([]byte, 32))) {
		t.Error("Random")
	}
}

func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	s := secret.New([]byte(word))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if !s.Clone().Equal(s) || fmt.Sprint(s) != "(redacted)" {
					t.Error("a reader saw something else")
				}
			}
		})
	}
	wg.Wait()
}
