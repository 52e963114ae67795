package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var targetErrors = []error{errShape, errHost, errPort, errVhost, errExtra, errLogin}

func TestParseEndpointTakesATargetFromAnAMQPURL(t *testing.T) {
	for text, want := range map[string]endpoint{
		"amqp://mq-0":                       {address: "mq-0:5672", vhost: "/"},
		"AMQP://mq-0":                       {address: "mq-0:5672", vhost: "/"},
		"amqps://mq-0":                      {secure: true, address: "mq-0:5671", vhost: "/"},
		"amqp://mq-0:":                      {address: "mq-0:5672", vhost: "/"},
		"amqp://mq-0:05673":                 {address: "mq-0:5673", vhost: "/"},
		"amqp://mq-0:65535/v":               {address: "mq-0:65535", vhost: "v"},
		"amqp://127.0.0.1:5673":             {address: "127.0.0.1:5673", vhost: "/"},
		"amqp://[::1]":                      {address: "[::1]:5672", vhost: "/"},
		"amqps://[2001:db8::7]:5673/v":      {secure: true, address: "[2001:db8::7]:5673", vhost: "v"},
		"amqp://[fe80::1%25eth0]:5672":      {address: "[fe80::1%eth0]:5672", vhost: "/"},
		"amqp://ada@mq-0":                   {address: "mq-0:5672", username: "ada", vhost: "/"},
		"amqp://ada:pw@mq-0":                {address: "mq-0:5672", username: "ada", password: "pw", inURL: true, vhost: "/"},
		"amqp://ada:@mq-0":                  {address: "mq-0:5672", username: "ada", vhost: "/"},
		"amqp://:pw@mq-0":                   {address: "mq-0:5672", password: "pw", inURL: true, vhost: "/"},
		"amqp://a%40b:p%3A%2F%3F%23@mq-0/v": {address: "mq-0:5672", username: "a@b", password: "p:/?#", inURL: true, vhost: "v"},
		"amqp://ada:p:q@mq-0":               {address: "mq-0:5672", username: "ada", password: "p:q", inURL: true, vhost: "/"},
		"amqp://ada:p@q@mq-0":               {address: "mq-0:5672", username: "ada", password: "p@q", inURL: true, vhost: "/"},
		"amqp://ada:p+q%20r@mq-0":           {address: "mq-0:5672", username: "ada", password: "p+q r", inURL: true, vhost: "/"},

		// No path is the default vhost. So is a slash alone, whatever the specification says, and a path of "//".
		"amqp://mq-0/":              {address: "mq-0:5672", vhost: "/"},
		"amqp://mq-0//":             {address: "mq-0:5672", vhost: "/"},
		"amqp://mq-0/%2F":           {address: "mq-0:5672", vhost: "/"},
		"amqp://mq-0/%2f":           {address: "mq-0:5672", vhost: "/"},
		"amqp://mq-0/orders":        {address: "mq-0:5672", vhost: "orders"},
		"amqp://mq-0/%2Forders%2F":  {address: "mq-0:5672", vhost: "/orders/"},
		"amqp://mq-0/a%20b+c%40%3F": {address: "mq-0:5672", vhost: "a b+c@?"},
		"amqp://mq-0/gr%C3%BCn":     {address: "mq-0:5672", vhost: "grün"},
	} {
		got, err := parseEndpoint(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); diff != "" || err != nil {
			t.Errorf("%s: error %v (- want, + got)\n%s", text, err, diff)
		}
	}
}

func TestParseEndpointRefusesAWrongURLWithoutRepeatingIt(t *testing.T) {
	const marker = "MARKER"
	for text, want := range map[string]error{
		"":                                          errShape,
		marker:                                      errShape,
		marker + ":5672":                            errShape,
		"ada:" + marker + "@mq-0":                   errShape,
		"amqp:" + marker + "@mq-0":                  errShape,
		"http://ada:" + marker + "@mq-0":            errShape,
		marker + "://ada@mq-0":                      errShape,
		"amqp://ada:%zz" + marker + "@mq-0":         errShape,
		"amqp://ada:" + marker + " x@mq-0":          errShape,
		"amqp://ada:x#" + marker + "@mq-0":          errShape, // the port would be x
		"amqp://ada:1#" + marker + "@mq-0":          errExtra,
		"amqp://ada:1?" + marker + "@mq-0":          errExtra,
		"amqp://ada:1/" + marker + "@mq-0":          errVhost,
		"amqp://ada:" + marker + "/1@mq-0":          errShape,
		"amqp://ada:1\\" + marker + "@mq-0":         errShape,
		"amqp://ada:" + marker + "\x00@mq-0":        errShape,
		"amqp://ada:" + marker + "%00@mq-0":         errLogin,
		"amqp://" + strings.Repeat("a", 256) + "@h": errLogin,
		"amqp://ada:" + marker + "@":                errHost,
		"amqp://ada:" + marker + "@:5672":           errHost,
		"amqp:///" + marker:                         errHost,
		"amqp://ada:" + marker + "@::1":             errHost,
		"amqp://ada:" + marker + "@2001:db8::7":     errHost, // or port 7 of 2001:db8:?
		"amqp://ada:" + marker + "@[mq-0]":          errShape,
		"amqp://ada:" + marker + "@[127.0.0.1]":     errShape,
		"amqp://ada:" + marker + "@[::1%25%5B]":     errHost,
		"amqp://ada:" + marker + "@mq-0:0":          errPort,
		"amqp://ada:" + marker + "@mq-0:65536":      errPort,
		"amqp://ada:" + marker + "@mq-0:x":          errShape,
		"amqp://ada:" + marker + "@[::1":            errShape,
		"amqp://ada:" + marker + "@mq-0/a/b":        errVhost,
		"amqp://ada:" + marker + "@mq-0///":         errVhost,
		"amqp://ada:" + marker + "@mq-0/%zz":        errShape,
		"amqp://ada:" + marker + "@mq-0/v?x=1":      errExtra,
		"amqp://ada:" + marker + "@mq-0/v?":         errExtra,
		"amqp://ada:" + marker + "@mq-0/v#":         errExtra,
		"amqp://mq-0/" + strings.Repeat("v", 256):   errVhost,
	} {
		_, err := parseEndpoint(text)
		if !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%q: the error repeats what was typed: %v", text, err)
		}
	}
}

func TestEndpointStringHasEverythingButThePassword(t *testing.T) {
	for text, want := range map[string]string{
		"amqp://mq-0":                          "amqp://mq-0:5672/%2F",
		"amqps://ada:MARKER@mq-0/orders":       "amqps://ada@mq-0:5671/orders",
		"amqp://a%2Fb@[fe80::1%25eth0]/%2Fa@b": "",
		"amqp://a%2Fb@[fe80::1%25eth0]/%2Fa":   "amqp://a%2Fb@[fe80::1%25eth0]:5672/%2Fa",
		"amqp://ada@mq-0/a%0Ab%1B":             "amqp://ada@mq-0:5672/a%0Ab%1B",
		"amqp://ada@mq-0/a%40b%3F%25":          "amqp://ada@mq-0:5672/a%40b%3F%25",
	} {
		got, err := parseEndpoint(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: want an error", text)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("%s: printed as %s, %v, want %s", text, got, err, want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %s", got, got, got), "MARKER") {
			t.Errorf("%s: printing shows the password", text)
		}
	}
}

func FuzzEndpointStringIsReadBackAsTheSameTarget(f *testing.F) {
	for _, seed := range []string{
		"amqp://ada:pw@mq-0:5672/%2F", "amqps://[::1]/v", "amqp://[fe80::1%25eth0]/", "amqp://%C3%BC/%00", "amqp://a%40:b@c//", "amqp://u:1/2@h",
		"amqp://ada@c/a%40",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := parseEndpoint(text)
		if err != nil {
			if !slices.Contains(targetErrors, err) { // this very value: a wrapped one could repeat the text
				t.Fatalf("%q: error %v is not one of the fixed ones", text, err)
			}
			return
		}
		second, err := parseEndpoint(first.String())
		if err != nil {
			t.Fatalf("%q is printed as %q, which is refused: %v", text, first, err)
		}
		first.password, first.inURL = "", false
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Fatalf("%q is printed as %q, which means another target:\n%s", text, first, diff)
		}
	})
}
