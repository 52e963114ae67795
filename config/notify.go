package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
)

// maxReceivers is how many receivers there may be: each has a queue and a goroutine.
const maxReceivers = 20

const (
	wantURL      = "a URL such as https://hooks.example.com/unstuck, without a user"
	wantReceiver = "a receiver's name of lower-case letters, digits and dashes, up to 63"
)

// receivers reads who is told of incidents.
func (s *section) receivers() (all []notify.Receiver) {
	for _, e := range s.few("notify", none, "receivers", maxReceivers) {
		all = append(all, s.receiver(e))
	}
	return all
}

func (s *section) receiver(e element) notify.Receiver {
	r := notify.DefaultReceiver()
	k := s.section(e.path, e.node)
	k.named("name", required, brokerName, wantReceiver, &r.Name)
	k.missing("name", r.Name, wantReceiver)
	var types []string
	for _, shape := range notify.Shapes() {
		types = append(types, string(shape))
	}
	k.oneOf("type", required, types, func(v string) { r.Type = notify.Shape(v) })
	k.missing("type", string(r.Type), strings.Join(types, " or "))
	k.url("url", &r.URL)
	k.text("url_file", none, wantFile, &r.URLFile)
	k.text("token_file", none, wantFile, &r.TokenFile)
	k.text("headers_file", none, wantFile, &r.HeadersFile)
	k.text("signing_key_file", none, wantFile, &r.SigningKeyFile)
	k.text("ca_file", none, wantFile, &r.CAFile)
	k.url("page_url", &r.Page)
	k.kinds("events", &r.Events)
	k.texts("targets", none, "names of brokers and applications", wantBroker, brokerName.MatchString, &r.Targets)
	k.duration("timeout", &r.Timeout, time.Second)
	k.duration("give_up_after", &r.GiveUpAfter, time.Minute)
	k.count("queue", &r.Queue, 10, 10_000)
	k.end()
	return r
}

// url reads a URL. No message repeats it: it may be a secret that went astray.
func (s *section) url(name string, to *string) {
	f := form{"type": "string", "pattern": "^https?://.+"}
	s.value(name, none, f, wantURL, false, func(v string) bool {
		if _, err := notify.ParseURL(v); err != nil {
			s.problem(s.key(name), "%v: want %s", err, wantURL)
			return true // it has been noted
		}
		*to = v
		return true
	})
}

// kinds reads which events a receiver wants.
func (s *section) kinds(name string, to *[]notify.Kind) {
	var words []string
	for _, k := range notify.Kinds() {
		words = append(words, string(k))
	}
	elements, there := s.list(name, strings.Join(words, ", "), "events")
	if !there {
		return
	}
	*to = nil
	for _, e := range elements {
		if e.node.Kind != yaml.ScalarNode || !slices.Contains(words, e.node.Value) {
			s.problem(e.path, "want %s", strings.Join(words, " or "))
			continue
		}
		*to = append(*to, notify.Kind(e.node.Value))
	}
	if len(elements) == 0 {
		s.problem(s.key(name), "it is empty: want some of %s", strings.Join(words, ", "))
	}
}

// receiverAt gives the path of a receiver's key.
func receiverAt(i int, key string) string { return fmt.Sprintf("notify[%d].%s", i, key) }

// checkReceivers notes what is wrong with receivers that are right key by key.
func (d *decoder) checkReceivers(c Config) {
	known := make(map[string]bool)
	for _, b := range c.Brokers {
		known[b.Name] = true
	}
	for _, a := range c.Apps {
		known[a.Name] = true
	}
	first := make(map[string]int)
	for i, r := range c.Notify {
		key := func(k string) string { return receiverAt(i, k) }
		if j, taken := first[r.Name]; taken && r.Name != "" {
			d.problem(key("name"), "%s is the name of notify[%d] too: want another", quote(r.Name), j)
		} else {
			first[r.Name] = i
		}
		for j, name := range r.Targets {
			if !known[name] {
				d.problem(key(fmt.Sprintf("targets[%d]", j)), "there is no broker or application %s: want the name of one",
					quote(name))
			}
		}
		if r.Type == "" {
			continue // that has been noted
		}
		d.checkReceiverSecrets(key, r)
	}
}

// checkReceiverSecrets notes what a receiver of its type must have, and what it has for nothing.
func (d *decoder) checkReceiverSecrets(key func(string) string, r notify.Receiver) {
	switch {
	case r.URL != "" && r.URLFile != "":
		d.problem(key("url_file"), "there is a url too: want one of them")
	case r.URL != "" && r.Type.SecretURL():
		d.problem(key("url"), "the URL of a receiver of type %s is a secret: want url_file, a file with it", r.Type)
	case r.URL == "" && r.URLFile == "" && r.Type.NeedsURL() && !d.wrong(key("url")):
		if r.Type.SecretURL() {
			d.problem(key("url_file"), "missing: want a file with the URL, which is a secret")
		} else {
			d.problem(key("url"), "missing: want url or url_file")
		}
	}
	if only := r.Type.Only(); only != "" && !slices.Contains(r.Events, only) {
		d.problem(key("events"), "a receiver of type %s is told of %s alone: want that among them", r.Type, only)
	}
	switch {
	case r.TokenFile == "" && r.Type.NeedsToken():
		d.problem(key("token_file"), "missing: want the file of the integration's routing key")
	case r.TokenFile != "" && !r.Type.TakesToken():
		d.problem(key("token_file"), "a receiver of type %s takes no token: its URL is the secret", r.Type)
	case r.SigningKeyFile != "" && r.Type != notify.JSON:
		d.problem(key("signing_key_file"), "only receivers of type %s read a signature", notify.JSON)
	}
}

// checkReceiverFiles notes the files of receivers that cannot be used. No message repeats what is in them.
func (d *decoder) checkReceiverFiles(c Config) {
	for i, r := range c.Notify {
		for _, f := range []struct{ key, path string }{
			{"url_file", r.URLFile}, {"token_file", r.TokenFile}, {"signing_key_file", r.SigningKeyFile},
		} {
			if f.path == "" {
				continue
			}
			text, err := probe.ReadSecret(f.path, probe.MaxSecret)
			if err != nil {
				d.problem(receiverAt(i, f.key), "%v: want a file with one line, of at most %d bytes", err, probe.MaxSecret)
			} else if f.key == "url_file" {
				if _, err := notify.ParseURL(text); err != nil {
					d.problem(receiverAt(i, f.key), "what is in the file is wrong: %v: want %s", err, wantURL)
				}
			}
		}
		if r.HeadersFile != "" {
			if _, err := notify.ReadHeaders(r.HeadersFile); err != nil {
				d.problem(receiverAt(i, "headers_file"), "%v", err)
			}
		}
		if r.CAFile != "" {
			if _, err := login.LoadAuthorities(r.CAFile); err != nil {
				d.problem(receiverAt(i, "ca_file"), "%v", err)
			}
		}
	}
}

// Receiver gives the receiver of that name; with none, the only one there is.
func (c *Config) Receiver(name string) (notify.Receiver, error) {
	var names []string
	for _, r := range c.Notify {
		if r.Name == name || (name == "" && len(c.Notify) == 1) {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return notify.Receiver{}, fmt.Errorf("there is no receiver %q: want one of %s", name,
		cmp.Or(strings.Join(names, ", "), "none, for notify lists none"))
}
