package config

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
)

// Credentials reads the user's name and the password, each time anew: secrets are rotated while we run. The end of the
// line does not count. It is what login.Options asks for.
func (b Broker) Credentials(ctx context.Context) (target.Credentials, error) {
	if err := ctx.Err(); err != nil {
		return target.Credentials{}, err
	}
	var c target.Credentials
	var err error
	if c.Username, err = b.User(); err != nil {
		return target.Credentials{}, err
	}
	if c.Password, err = readSecret(b.PasswordFile); err != nil {
		return target.Credentials{}, fmt.Errorf("read the password: %w", err)
	}
	return c, nil
}

// User gives the user's name, from its file if there is one. It is empty if it stands in a Secret of the cluster.
func (b Broker) User() (string, error) {
	if b.UsernameFile == "" {
		return b.Username, nil
	}
	name, err := readSecret(b.UsernameFile)
	if err != nil {
		return "", fmt.Errorf("read the user name: %w", err)
	}
	return name, nil
}

// TLSConfig reads the files that the TLS section names. It gives nil for a broker without TLS.
func (b Broker) TLSConfig() (*tls.Config, error) {
	if b.TLS == nil {
		return nil, nil
	}
	return login.LoadTLS(b.TLS.CAFile, b.TLS.CertFile, b.TLS.KeyFile, b.TLS.ServerName)
}

// readSecret reads a file of one line. Errors name the file, and never repeat what is in it.
func readSecret(path string) (string, error) {
	data, err := probe.ReadFile(path, probe.MaxSecret)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case secret == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(secret, "\r\n\x00"):
		return "", fmt.Errorf("%s has more than one line", path)
	}
	return secret, nil
}

// resolve makes relative paths relative to dir.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.DataDir, &c.Kubernetes.Kubeconfig, &c.API.CertFile, &c.API.KeyFile, &c.API.TokensFile}
	for i := range c.Environments {
		paths = append(paths, &c.Environments[i].Kubeconfig)
	}
	for i := range c.Brokers {
		b := &c.Brokers[i]
		paths = append(paths, &b.UsernameFile, &b.PasswordFile)
		if b.TLS != nil {
			paths = append(paths, &b.TLS.CAFile, &b.TLS.CertFile, &b.TLS.KeyFile)
		}
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
	for i, b := range c.Brokers {
		for _, f := range []struct{ key, path string }{{"username_file", b.UsernameFile}, {"password_file", b.PasswordFile}} {
			if f.path == "" {
				continue
			}
			if _, err := readSecret(f.path); err != nil {
				d.problem(at(i, f.key), "%v: want a file with one line, of at most %d bytes", err, probe.MaxSecret)
			}
		}
		if b.TLS != nil && (b.TLS.CertFile == "") == (b.TLS.KeyFile == "") { // else that has been noted
			if _, err := b.TLSConfig(); err != nil {
				d.problem(at(i, "tls"), "%v", err)
			}
		}
	}
}

func (d *decoder) checkKubeconfig(key, path string) {
	if path == "" {
		return
	}
	if err := syscall.Access(path, mayRead); err != nil {
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
