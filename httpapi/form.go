package httpapi

import (
	"net/http"
	"time"
)

// What strangers may send in a form, and for how long: it is to sign in, and no cookie holds more than 2,800 bytes of a
// token. Of who is known it is MaxBody, within the time of every request.
const (
	maxStrangersForm  = 8 << 10
	strangersFormTime = 3 * time.Second
)

// ReadForm reads what a form of the page sends, and refuses what a page of another origin does. It takes less of a
// stranger, which is everybody whom Authenticate has not let in.
func ReadForm(w http.ResponseWriter, r *http.Request) error {
	most, control := int64(MaxBody), http.NewResponseController(w)
	_, known := CallerOf(r.Context())
	if !known { // the server, too, reads on no longer than this when the form is refused
		most = maxStrangersForm
		_ = control.SetReadDeadline(time.Now().Add(strangersFormTime)) // a test's writer has none
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return NewProblem(http.StatusForbidden, "a page of another origin may not change anything here")
	}
	if r.ContentLength > most { // nothing of it needs to be read
		return NewProblem(http.StatusRequestEntityTooLarge, "the form is larger than %d bytes", most)
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		return NewProblem(http.StatusBadRequest, "the form cannot be read, or is larger than %d bytes", most)
	}
	if !known { // or the request would end while somebody is asked whose token it is
		_ = control.SetReadDeadline(time.Now().Add(readTimeout))
	}
	return nil
}
