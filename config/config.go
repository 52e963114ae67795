// Package config reads one YAML file into one Config: strict, defaulted and validated. Every problem is reported at
// once, each with its line, the path of its key and what was expected. docs/configuration.md lists every key.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// Config is all that the daemon is told.
type Config struct {
	Path    string // of the file that Load read it from; empty: it came from elsewhere
	Listen  Listen
	Log     Log
	DataDir string // where incidents and deletions are kept when there is no Kubernetes
	API     API
	Brokers []Broker
	Apps    []App
	// Discovery finds more brokers; nil: there are no others.
	Discovery *Discovery

	Environments []Environment

	Notify []notify.Receiver // who is told of incidents

	Kubernetes Kubernetes
}

// Listen has the addresses to listen on, as host:port.
type Listen struct {
	Metrics string // /metrics, /healthz and /readyz
	API     string
}

// Log says what to log, and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Broker is one RabbitMQ cluster, how to probe its nodes, and when to delete one.
type Broker struct {
	Name  string
	Vhost string

	AuthMechanism string // Plain or External
	Username      string // or UsernameFile
	UsernameFile  string
	PasswordFile  string
	TokenFile     string  // of an OAuth 2 token, instead of PasswordFile
	Secret        *Secret // nil: the credentials stand in files
	TLS           *TLS    // nil: plain TCP

	// Nodes are those that the file names. They have a name and an address, and nobody who could say more of them.
	Nodes []target.Node
	// Pods are found in Kubernetes; nil: the nodes are listed.
	Pods *Pods
	// Source is where the broker comes from; the zero value: from the configuration. Found is what its resource says, in
	// a form that the supplier of its nodes knows.
	Source target.Source
	Found  any

	// TimeZone is that of its maintenance windows and of what its probes' schedules say by the clock.
	TimeZone *time.Location

	// HandshakeTimeout is the broker's own: how long it gives a login before it ends the connection.
	HandshakeTimeout time.Duration

	Probes Probes
	Policy decide.Policy
}

// Probes says how often each kind of probe runs, and for how long at most.
type Probes struct {
	Login struct {
		Every          Schedule
		Timeout        time.Duration
		WhileSuspect   time.Duration // from the end of one to the start of the next
		WhileConfirmed time.Duration // likewise
	}
	Roundtrip struct {
		Every   Schedule
		Timeout time.Duration
	}
	MaybeStuck struct {
		Every         Schedule
		Timeout       time.Duration
		AboveBaseline int     // so many more suspicious processes than usual, and
		Share         float64 // such a share of all processes, are a finding
	}
	Log struct {
		Every  Schedule
		MaxAge time.Duration // of the last line, after a login that succeeded
	}
}

// defaults gives what holds where the file says nothing.
func defaults() Config {
	return Config{
		Listen:  Listen{Metrics: ":9090", API: "127.0.0.1:8080"},
		Log:     Log{Level: slog.LevelInfo, Format: "text"},
		DataDir: "/var/lib/unstuck",
		API:     API{PerSecond: 10, Burst: 40},

		Kubernetes: Kubernetes{Lease: "unstuck", QPS: 50, Burst: 100},
	}
}

// DefaultBroker gives what holds for a broker where neither its section nor that of the defaults says anything.
func DefaultBroker() Broker {
	b := Broker{
		Vhost: "/", AuthMechanism: Plain, TimeZone: time.UTC, HandshakeTimeout: 10 * time.Second,
		Policy: decide.DefaultPolicy(),
	}

	b.Probes.Login.Every = Every(15 * time.Second)
	b.Probes.Login.Timeout = 12 * time.Second
	b.Probes.Login.WhileSuspect = 6 * time.Second
	b.Probes.Login.WhileConfirmed = time.Minute

	b.Probes.Roundtrip.Every = Every(5 * time.Minute)
	b.Probes.Roundtrip.Timeout = 20 * time.Second

	b.Probes.MaybeStuck.Every = Every(time.Hour)
	b.Probes.MaybeStuck.Timeout = 45 * time.Second
	b.Probes.MaybeStuck.AboveBaseline = 20
	b.Probes.MaybeStuck.Share = 0.05

	b.Probes.Log.Every = Every(30 * time.Second)
	b.Probes.Log.MaxAge = 5 * time.Minute
	return b
}

// clone gives a broker that shares nothing with b.
func (b Broker) clone() Broker {
	b.Nodes = slices.Clone(b.Nodes)
	b.Policy.MaintenanceWindows = slices.Clone(b.Policy.MaintenanceWindows)
	b.TLS = b.TLS.clone()
	if b.Secret != nil {
		secret := *b.Secret
		b.Secret = &secret
	}
	return b
}

// Load reads the file at path, and checks that the files it names can be read and that its data_dir can be written to.
// It creates nothing. Paths in it are relative to its own directory. If its contents are at fault the error is an
// *Error.
func Load(path string) (*Config, error) { return load(path, defaults()) }

// load is Load with base for what the file does not say.
func load(path string, base Config) (*Config, error) {
	data, err := probe.ReadFile(path, probe.MaxFile)
	if err != nil {
		return nil, err // it names the operation and the path
	}
	c, err := check(data, path, base)
	if err == nil {
		c.Path = path
	}
	return c, err
}

// LoadFrom is Load for a configuration that comes from r and is called name where there are problems, as a path would
// be. Paths in it are relative to name's directory.
func LoadFrom(r io.Reader, name string) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, probe.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > probe.MaxFile {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, probe.MaxFile)
	}
	return check(data, name, defaults())
}

func check(data []byte, path string, base Config) (*Config, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	d := newDecoder()
	c := d.parse(data, base)
	c.resolve(dir)
	d.checkFiles(c)
	if !c.InCluster() {
		d.checkDataDir(c.DataDir, access)
	}
	if err := d.err(path); err != nil {
		return nil, err
	}
	return &c, nil
}

// Parse reads a configuration. It looks at no file, and leaves relative paths as they are. The error is an *Error.
func Parse(data []byte) (*Config, error) {
	d := newDecoder()
	c := d.parse(data, defaults())
	if err := d.err(""); err != nil {
		return nil, err
	}
	return &c, nil
}
