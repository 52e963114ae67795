package target

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestAnswerIsReadAsItIsWritten(t *testing.T) {
	for answer, text := range map[Answer]string{CannotTell: "cannot tell", No: "no", Yes: "yes", 7: "cannot tell"} {
		written, err := json.Marshal(answer)
		if err != nil || string(written) != `"`+text+`"` || answer.String() != text {
			t.Errorf("%d is written %s, %v, want %q", answer, written, err, text)
		}
		var read Answer
		if err := json.Unmarshal(written, &read); err != nil || read.String() != text {
			t.Errorf("%s is read as %s: %v", written, read, err)
		}
	}
	var a Answer
	if err := a.UnmarshalText([]byte("Yes")); err == nil || !strings.Contains(err.Error(), `answer "Yes": want one of`) || a != CannotTell {
		t.Errorf("%s, %v", a, err)
	}
	if AnswerTo(true) != Yes || AnswerTo(false) != No {
		t.Error("what is known for certain is not what it was")
	}
}

func TestCredentialsArePrintedWithoutThePassword(t *testing.T) {
	c := Credentials{Username: "ada", Password: "hunter2"}
	for _, text := range []string{c.String(), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, &c)} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "ada") {
			t.Errorf("%s", text)
		}
	}
}
