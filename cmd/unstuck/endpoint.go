package main

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// endpoint is one node to log in to, as a URL names it.
type endpoint struct {
	secure   bool   // amqps
	address  string // host:port, with an IPv6 host in brackets
	username string // empty: not given
	password string
	inURL    bool // the password was given in the URL
	vhost    string
}

var (
	errShape = errors.New("want amqp://user@host:port/vhost or amqps://user@host:port/vhost, with whatever is special " +
		"in it " +
		"percent-encoded (a slash is %2F)")
	errHost = errors.New("want a host: amqp://user@host:port/vhost, and an IPv6 address in brackets: " +
		"amqp://user@[::1]:port/vhost")
	errPort  = errors.New("want a port between 1 and 65535, or none")
	errVhost = errors.New("the vhost is not right: write a slash in it as %2F and an @ as %40; it has at most 255 bytes")
	errExtra = errors.New("nothing may follow the vhost: options are flags, and a ? or # in a password or vhost is " +
		"percent-encoded")
	errLogin = errors.New("the user name or the password is not right: no NUL byte may be in it, at most 255 bytes of " +
		"name")
)

// parseEndpoint reads an AMQP URL (https://www.rabbitmq.com/docs/uri-spec). Its errors repeat nothing of text: where a
// password is not percent-encoded it can turn up in any part of the URL, and so in any error of net/url.
//
// Two departures from the letter of that page, both because a person is more likely to mean them: a path of "/" alone
// is the default vhost "/", as it is for most clients, and not the vhost without a name; and so is "//".
func parseEndpoint(text string) (endpoint, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || (u.Scheme != "amqp" && u.Scheme != "amqps") {
		return endpoint{}, errShape
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(text, "#") {
		return endpoint{}, errExtra
	}
	t := endpoint{secure: u.Scheme == "amqps"}
	if t.address, err = addressOf(u, t.secure); err != nil {
		return endpoint{}, err
	}
	if t.vhost, err = vhostOf(u.EscapedPath()); err != nil {
		return endpoint{}, err
	}
	t.username = u.User.Username()
	t.password, _ = u.User.Password()
	t.inURL = t.password != ""
	if len(t.username) > 255 || strings.Contains(t.username+t.password, "\x00") {
		return endpoint{}, errLogin
	}
	return t, nil
}

func addressOf(u *url.URL, secure bool) (string, error) {
	host, port := u.Hostname(), u.Port()
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return "", errHost
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(u.Host, "[") {
		return "", errHost // net/url takes the last part of 2001:db8::7 for a port
	}
	if strings.ContainsAny(host, "[]") { // in the zone of an IPv6 address, percent-encoded
		return "", errHost
	}
	switch {
	case port == "" && secure:
		port = "5671"
	case port == "":
		port = "5672"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", errPort
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10)), nil
}

// vhostOf reads the vhost from the path as it was written. A slash or an @ in it is refused, for it is most likely
// what follows the slash in a password: amqp://user:12/34@host.
func vhostOf(escaped string) (string, error) {
	if escaped == "" || escaped == "/" || escaped == "//" {
		return "/", nil
	}
	escaped = strings.TrimPrefix(escaped, "/")
	vhost, err := url.PathUnescape(escaped)
	if err != nil || strings.ContainsAny(escaped, "/@") || len(vhost) > 255 {
		return "", errVhost
	}
	return vhost, nil
}

// String gives the target as a URL in which everything is spelled out but the password, which is left out.
func (t endpoint) String() string {
	scheme, user := "amqp://", ""
	if t.secure {
		scheme = "amqps://"
	}
	if t.username != "" {
		user = url.User(t.username).String() + "@"
	}
	// PathEscape leaves an @ as it is, which vhostOf refuses.
	return scheme + user + strings.ReplaceAll(t.address, "%", "%25") + "/" +
		strings.ReplaceAll(url.PathEscape(t.vhost), "@", "%40")
}
