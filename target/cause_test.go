package target

import (
	"errors"
	"strings"
	"testing"
)

func TestCauseSaysWhatItIsAndThatItIsNotKnown(t *testing.T) {
	seen := make(map[string]Cause)
	for _, c := range Causes() {
		s := c.Sentence("")
		if !c.Known() || s == "" || seen[s] != "" {
			t.Errorf("%q says %q, as does %q", c, s, seen[s])
		}
		seen[s] = c
		if got := c.Sentence("ada"); got != s+": ada" {
			t.Errorf("%q with a detail: %q", c, got)
		}
	}
	for _, c := range []Cause{"", "of_another_version", "Gone"} {
		if c.Known() || c.Sentence("") != "for a reason that is not known" {
			t.Errorf("%q is known: %q", c, c.Sentence(""))
		}
	}
}

func TestRefusedErrorIsARefusalAndWhatIsBehindIt(t *testing.T) {
	behind := errors.New("quota")
	for _, err := range []error{&RefusedError{Cause: CauseRejected, Err: behind}, &RefusedError{Cause: CauseRejected}} {
		if !errors.Is(err, ErrRefused) || !strings.HasPrefix(err.Error(), "a last look forbade it: the request was rejected") {
			t.Errorf("%v", err)
		}
	}
	if err := error(&RefusedError{Cause: CauseRejected, Err: behind}); !errors.Is(err, behind) || !strings.HasSuffix(err.Error(), ": quota") {
		t.Errorf("%v", err)
	}
}
