package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
)

// resolve makes relative paths relative to dir.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.DataDir, &c.Kubernetes.Kubeconfig, &c.API.CertFile, &c.API.KeyFile, &c.API.TokensFile}
	for i := range c.Environments {
		paths = append(paths, &c.Environments[i].Kubeconfig)
	}
	brokers := make([]*Broker, 0, len(c.Brokers)+1)
	for i := range c.Brokers {
		brokers = append(brokers, &c.Brokers[i])
	}
	if c.Discovery != nil {
		brokers = append(brokers, &c.Discovery.Broker)
	}
	for _, b := range brokers {
		paths = append(paths, &b.UsernameFile, &b.PasswordFile, &b.TokenFile)
		if b.TLS != nil {
			paths = append(paths, &b.TLS.CAFile, &b.TLS.CertFile, &b.TLS.KeyFile)
		}
	}
	for i := range c.Notify {
		r := &c.Notify[i]
		paths = append(paths, &r.URLFile, &r.TokenFile, &r.HeadersFile, &r.SigningKeyFile, &r.CAFile)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// checkFiles notes the files that cannot be used.
func (d *decoder) checkFiles(c Config) {
	d.checkKubeconfig("kubernetes.kubeconfig", c.Kubernetes.Kubeconfig)
	for i, e := range c.Environments {
		if e.Kubeconfig != c.Kubernetes.Kubeconfig { // that has been looked at
			d.checkKubeconfig(fmt.Sprintf("environments[%d].cluster.kubeconfig", i), e.Kubeconfig)
		}
	}
	d.checkAPIFiles(c)
	d.checkReceiverFiles(c)
	for i, b := range c.Brokers {
		d.checkBrokerFiles(func(keys ...string) string { return at(i, keys...) }, b)
	}
	if c.Discovery != nil {
		d.checkBrokerFiles(func(keys ...string) string { return "discovery.defaults." + joined(keys) }, c.Discovery.Broker)
	}
}

// checkBrokerFiles notes the files that a broker cannot use.
func (d *decoder) checkBrokerFiles(at keyed, b Broker) {
	for _, f := range []struct {
		key, path string
		most      int
	}{
		{"username_file", b.UsernameFile, probe.MaxSecret},
		{"password_file", b.PasswordFile, probe.MaxSecret},
		{"token_file", b.TokenFile, maxToken},
	} {
		if f.path == "" {
			continue
		}
		if _, err := probe.ReadSecret(f.path, f.most); err != nil {
			d.problem(at(f.key), "%v: want a file with one line, of at most %d bytes", err, f.most)
		}
	}
	if b.TLS == nil {
		return
	}
	if b.TLS.CAFile != "" {
		if _, err := login.LoadAuthorities(b.TLS.CAFile); err != nil {
			d.problem(at("tls"), "%v", err)
		}
	}
	if b.TLS.CertFile != "" && b.TLS.KeyFile != "" { // else that has been noted
		if _, err := login.LoadPair(b.TLS.CertFile, b.TLS.KeyFile); err != nil {
			d.problem(at("tls"), "%v", err)
		}
	}
}

func (d *decoder) checkKubeconfig(key, path string) {
	if path == "" {
		return
	}
	if err := access(path, mayRead); err != nil {
		d.problem(key, "%s: %v: want %s that can be read", path, err, wantFile)
	}
}

// checkDataDir notes a directory that could be neither written to nor created. It asks access(2), and changes nothing.
func (d *decoder) checkDataDir(dir string, access func(path string, mode uint32) error) {
	const want = "want a directory that this user can write to, or create"
	at := dir
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) { // the nearest that is there
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		d.problem("data_dir", "%v: %s", err, want)
	case !info.IsDir():
		d.problem("data_dir", "%s: %s is no directory: %s", dir, at, want)
	default:
		if err := access(at, mayWrite); err != nil {
			d.problem("data_dir", "%s: write to %s: %v: %s", dir, at, err, want)
		}
	}
}

// mayWrite is what access(2) is asked for, the rights to write to a directory and to search it: W_OK and X_OK.
const mayWrite = 2 | 1

// mayRead is R_OK.
const mayRead = 4
