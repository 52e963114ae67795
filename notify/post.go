package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cjworkbench/unstuck/probe"
)

// The headers of a request, besides those of HTTP.
const (
	// SignatureHeader holds "t=SECONDS,v1=HEX": the time of the request since 1970, and the HMAC-SHA256 of "SECONDS.BODY".
	SignatureHeader = "Unstuck-Signature"
	// IdempotencyHeader holds the ID of the event: the same if it is sent again.
	IdempotencyHeader = "Idempotency-Key"
)

const (
	// longestAnswer is how much of an answer is read, in bytes.
	longestAnswer = 64 << 10
	// shownAnswer is how much of it a message shows, in characters.
	shownAnswer = 200
	// longestWait is the longest that a receiver may ask us to wait.
	longestWait = time.Hour
)

// refusedError is why a receiver did not take an event. It holds no secret.
type refusedError struct {
	text  string
	wait  time.Duration // as the receiver asked for; 0: it did not
	final bool          // to send the same again would change nothing
}

func (e *refusedError) Error() string { return e.text }

// poster sends to one receiver. One goroutine uses it.
type poster struct {
	Receiver

	userAgent string
	client    *http.Client
	ca        []byte // that the client trusts
}

// secrets are what no message may hold.
type secrets struct {
	url         *url.URL
	address     string // as it was given
	token, sign string
	headers     http.Header
}

// read reads all that stands in files, afresh: secrets are rotated while we run.
func (p *poster) read() (secrets, error) {
	var s secrets
	address := cmp.Or(p.URL, p.Type.row().url)
	for _, f := range []struct {
		what, path string
		to         *string
	}{{"URL", p.URLFile, &address}, {"token", p.TokenFile, &s.token}, {"signing key", p.SigningKeyFile, &s.sign}} {
		if f.path == "" {
			continue
		}
		text, err := probe.ReadSecret(f.path, probe.MaxSecret)
		if err != nil {
			return s, fmt.Errorf("read the %s: %w", f.what, err)
		}
		*f.to = text
	}
	if p.HeadersFile != "" {
		var err error
		if s.headers, err = ReadHeaders(p.HeadersFile); err != nil {
			return s, err
		}
	}
	u, err := ParseURL(address)
	if err != nil {
		return s, fmt.Errorf("the URL: %w", err)
	}
	s.address = address
	if path := p.Type.row().path; path != "" {
		u = u.JoinPath(path)
	}
	s.url = u
	return s, p.trust()
}

// trust makes the client, anew when the file of authorities has changed.
func (p *poster) trust() error {
	var ca []byte
	if p.CAFile != "" {
		var err error
		if ca, err = probe.ReadFile(p.CAFile, probe.MaxFile); err != nil {
			return fmt.Errorf("read the authorities: %w", err)
		}
	}
	if p.client != nil && bytes.Equal(ca, p.ca) {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CAFile != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return fmt.Errorf("read the authorities: %s has no certificate in PEM", p.CAFile)
		}
	}
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	p.ca = ca
	p.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConns: 1,
			IdleConnTimeout: time.Minute, TLSHandshakeTimeout: p.Timeout, MaxResponseHeaderBytes: longestAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// post tells the receiver of e, once. An error holds no secret; a *refusedError says that the receiver answered.
func (p *poster) post(ctx context.Context, e Event, now time.Time) error {
	s, err := p.read()
	if err != nil {
		return err
	}
	body, err := render(p.Type, e, setting{page: p.Page, token: s.token, now: now})
	if err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be used")
	}
	maps.Copy(request.Header, s.headers)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", p.userAgent)
	request.Header.Set(IdempotencyHeader, e.ID)
	if s.token != "" && p.Type.row().token == bearer {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	if s.sign != "" {
		request.Header.Set(SignatureHeader, Sign([]byte(s.sign), body, now))
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return s.clean(p.without(ctx, err))
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, longestAnswer))
	if answer.StatusCode/100 == 2 {
		return nil // whatever became of the rest of the answer, it has been taken
	}
	if err != nil {
		text = nil
	}
	return s.clean(refusal(answer, s.hide(string(text)), now))
}

// without gives an error of the client without the URL that it names.
func (p *poster) without(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", p.Timeout)
	}
	if named, ok := errors.AsType[*url.Error](err); ok {
		err = named.Err
	}
	return err
}

// refusal makes an error of an answer that is none of success.
func refusal(answer *http.Response, text string, now time.Time) *refusedError {
	e := &refusedError{text: "it answered " + strconv.Itoa(answer.StatusCode)}
	if name := http.StatusText(answer.StatusCode); name != "" {
		e.text += " " + name
	}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity:
		e.final = true
		if text != "" {
			e.text += ": " + strconv.Quote(cut(text, shownAnswer))
		}
	}
	if answer.StatusCode/100 == 3 {
		e.text += ": redirects are not followed, for the server there would learn the secret"
	}
	e.wait = retryAfter(answer.Header.Get("Retry-After"), now)
	return e
}

// retryAfter reads that header, seconds or a date (RFC 9110, 10.2.3); 0: it says nothing that one could use.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestWait)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longestWait)
	}
	return 0
}

// clean takes every secret out of what an error says.
func (s secrets) clean(err error) error {
	text := s.hide(err.Error())
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return &refusedError{text: text, wait: refused.wait, final: refused.final}
	}
	return errors.New(text)
}

// hide takes every secret out of a text, which must be whole: what was cut or quoted holds parts of them.
func (s secrets) hide(text string) string {
	hide := []string{s.url.String(), s.address, s.url.RequestURI(), s.token, s.sign}
	for part := range strings.SplitSeq(s.url.Path, "/") {
		if len(part) >= 8 { // of a shorter one nothing is given away
			hide = append(hide, part)
		}
	}
	for _, values := range s.url.Query() {
		hide = append(hide, values...)
	}
	for _, values := range s.headers {
		hide = append(hide, values...)
		for _, v := range values {
			for part := range strings.FieldsFuncSeq(v, func(c rune) bool { return strings.ContainsRune(" \t,;=\"", c) }) {
				if len(part) >= 8 {
					hide = append(hide, part)
				}
			}
		}
	}
	// The longest first: of a secret that begins with another the rest would stay.
	slices.SortFunc(hide, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, h := range hide {
		if len(h) > 1 {
			text = strings.ReplaceAll(text, h, "[hidden]")
		}
	}
	return text
}

// Sign gives what SignatureHeader holds for such a body at such a time.
func Sign(key, body []byte, at time.Time) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// ParseURL reads the URL of a receiver. The error does not repeat it.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it begins neither with https:// nor with http://")
	case u.Hostname() == "":
		return nil, errors.New("it has no host")
	case u.User != nil:
		return nil, errors.New("it has a user: a token belongs into a file of its own")
	case u.Fragment != "":
		return nil, errors.New("it has a fragment")
	}
	return u, nil
}

// ReadHeaders reads a file of headers, one "Name: value" a line. Errors name the file and the line, and never repeat
// what is in it.
func ReadHeaders(path string) (http.Header, error) {
	data, err := probe.ReadFile(path, probe.MaxSecret)
	if err != nil {
		return nil, fmt.Errorf("read the headers: %w", err)
	}
	headers, number := make(http.Header), 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "":
		case !ok || !headerName.MatchString(name) || value == "" || strings.ContainsFunc(value, unicode.IsControl):
			return nil, fmt.Errorf("read the headers: %s:%d: want Name: value", path, number)
		default:
			headers.Add(name, value)
		}
	}
	return headers, nil
}

// headerName is how a header's name looks (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")
