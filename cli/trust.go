package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/cjworkbench/unstuck/kube"
)

// The token of the kubeconfig's user opens the whole cluster as that user. It is sent to a pod of which the cluster
// says that it is Unstuck's, and only after that user has said once that this Unstuck may have it. Where nobody can be
// asked a flag says so; a shell that asks for completions sends it to nobody.

// sendTokenFlag has the token sent without a question.
const sendTokenFlag = "send-cluster-token"

// cluster is the way to the Unstuck in a cluster. A *kube.Forward is one.
type cluster interface {
	Host() string
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Token gives the own token of the kubeconfig's user; "": there is none.
	Token(ctx context.Context) (string, error)
	// Daemon says whose the pods are, and Only has no others connected to.
	Daemon(ctx context.Context) (kube.Daemon, error)
	Only(d kube.Daemon)
}

// truster says whether the own token of the kubeconfig's user may be sent to an Unstuck: nil if it may.
type truster func(ctx context.Context, to kube.Daemon) error

// errNoTrust is why a shell that asks for completions sends no token.
var errNoTrust = errors.New("the token of the kubeconfig's user is not sent to complete a word")

// ownToken is the kubeconfig user's own token, as a client sends it, once it may be sent; nil: the user has none.
func ownToken(ctx context.Context, way cluster, trust truster) (func(context.Context) (string, error), error) {
	if trust == nil {
		return nil, errNoTrust // before a plugin is run for it
	}
	token, err := way.Token(ctx)
	if err != nil || token == "" {
		return nil, err
	}
	to, err := way.Daemon(ctx)
	switch {
	case errors.Is(err, kube.ErrNotDaemon):
		return nil, fmt.Errorf("the kubeconfig user's own token is not sent: %w: give another with --token-file or $%s, "+
			"or another --namespace or --context", err, tokenVariable)
	case err != nil:
		return nil, &ExitError{Code: exitUnclear, Err: fmt.Errorf("see whom the kubeconfig user's own token would be sent "+
			"to: %w (with --token-file or $%s that is not needed)", err, tokenVariable)}
	}
	if err := trust(ctx, to); err != nil {
		return nil, err
	}
	way.Only(to)
	return way.Token, nil
}

// trusts asks, once for each Unstuck, whether it may have the token; given says that the flag has answered already.
func (c console) trusts(given bool, stderr io.Writer) truster {
	return func(ctx context.Context, to kube.Daemon) error {
		if given {
			return nil
		}
		file, err := trustedFile()
		var known []kube.Daemon
		if err == nil {
			known, err = readTrusted(file)
		}
		if slices.Contains(known, to) {
			return nil
		}
		answered := c.approve(ctx, "Your own token of the kubeconfig would be sent to Unstuck, "+to.String()+
			". Who controls that Deployment can do with it what you can do. Send it, and remember that?")
		if errors.Is(answered, errNobody) {
			return &ExitError{Code: exitUnconfirmed, Err: fmt.Errorf("%w whether your own token of the kubeconfig may be sent "+
				"to %s: give --%s if it may, or another token with --token-file or $%s", errNobody, to, sendTokenFlag,
				tokenVariable)}
		}
		if answered != nil {
			return answered
		}
		if err == nil {
			known = slices.DeleteFunc(known, func(d kube.Daemon) bool { // what has been made anew since
				return d.Cluster == to.Cluster && d.Namespace == to.Namespace && d.Deployment == to.Deployment
			})
			err = writeTrusted(file, append(known, to))
		}
		if err != nil {
			fmt.Fprintln(stderr, "unstuck: warning: this answer cannot be remembered: "+clean(err.Error()))
		}
		return nil
	}
}

// trustedFile is where it is remembered which Unstucks may have the token.
func trustedFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "unstuck", "trusted.json"), nil
}

// readTrusted reads the file; there need not be one.
func readTrusted(file string) (known []kube.Daemon, err error) {
	data, err := readSmallFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return known, nil
}

// writeTrusted writes the file, which is for this user alone, in one step.
func writeTrusted(file string, known []kube.Daemon) error {
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	made, err := os.CreateTemp(filepath.Dir(file), ".trusted-*") // which only this user may read
	if err != nil {
		return err
	}
	_, err = made.Write(append(data, '\n'))
	err = errors.Join(err, made.Close())
	if err == nil {
		err = os.Rename(made.Name(), file)
	}
	if err != nil {
		_ = os.Remove(made.Name())
	}
	return err
}
