package target

import (
	"fmt"
	"slices"
)

// Answer is a supplier's answer to a yes-or-no question about the world. The zero value is CannotTell, and a
// guard that gets it closes.
type Answer uint8

// The three answers.
const (
	CannotTell Answer = iota
	No
	Yes
)

var answerNames = [...]string{CannotTell: "cannot tell", No: "no", Yes: "yes"}

func (a Answer) String() string {
	if int(a) < len(answerNames) {
		return answerNames[a]
	}
	return answerNames[CannotTell]
}

// MarshalText gives "yes", "no" or "cannot tell".
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Answer) UnmarshalText(text []byte) error {
	i := slices.Index(answerNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("answer %q: want one of %v", text, answerNames)
	}
	*a = Answer(i)
	return nil
}

// AnswerTo turns a bool that is known for certain into an Answer.
func AnswerTo(b bool) Answer {
	if b {
		return Yes
	}
	return No
}
