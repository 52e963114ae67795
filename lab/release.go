package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// release is the RabbitMQ that a lab runs: how it is broken, and what can be broken, differs.
type release struct{ major, minor int }

func (r release) atLeast(major, minor int) bool {
	return r.major > major || r.major == major && r.minor >= minor
}

// khepri is true where a new cluster keeps its metadata in Khepri, false where in Mnesia.
func (r release) khepri() bool { return r.atLeast(4, 2) }

// plugins gives the directory of RabbitMQ's plugins, and those in it that are its core, by the paths that we see.
func (l *Lab) plugins() (all string, core []string, err error) {
	script, err := filepath.EvalSymlinks(filepath.Join(l.opts.Root, l.bin, "rabbitmq-server"))
	if err != nil {
		return "", nil, fmt.Errorf("find RabbitMQ's plugins: %w", err)
	}
	all = filepath.Join(filepath.Dir(filepath.Dir(script)), "plugins")
	if in, err := filepath.Rel(l.opts.Root, all); l.opts.Root != "" && (err != nil || !filepath.IsLocal(in)) {
		return "", nil, fmt.Errorf("find RabbitMQ's plugins: %s is not in %s", all, l.opts.Root)
	}
	core, err = filepath.Glob(filepath.Join(all, "rabbit-[0-9]*"))
	return all, core, err
}

// findRelease reads the release off the name of RabbitMQ's core: rabbit-4.0.5, or rabbit-3.7.8.ez. Where that is not
// as we expect it the lab takes the release for the oldest that it knows, and what differs may not work.
func (l *Lab) findRelease() (release, error) {
	_, core, err := l.plugins()
	if err != nil {
		return release{}, err
	}
	for _, path := range core {
		words := strings.SplitN(strings.TrimPrefix(filepath.Base(path), "rabbit-"), ".", 3)
		if len(words) < 2 {
			continue
		}
		major, err := strconv.Atoi(words[0])
		if err != nil {
			continue
		}
		minor, err := strconv.Atoi(words[1])
		if err != nil {
			continue
		}
		return release{major, minor}, nil
	}
	return release{}, nil
}

// Versions says what a lab runs, in the broker's own words: 4.0.5 and 27, say.
type Versions struct{ RabbitMQ, Erlang string }

// Versions asks a node what it runs.
func (l *Lab) Versions(ctx context.Context) (Versions, error) {
	out, err := l.helper().eval(ctx, `
		{ok, V} = application:get_key(rabbit, vsn),
		{text, io_lib:format("~s ~s", [V, erlang:system_info(otp_release)])}.`)
	words := strings.Fields(out)
	if err == nil && len(words) < 2 {
		err = fmt.Errorf("it says %q", oneLine(out))
	}
	if err != nil {
		return Versions{}, fmt.Errorf("ask for the versions of RabbitMQ and Erlang: %w", err)
	}
	return Versions{RabbitMQ: words[0], Erlang: words[1]}, nil
}
