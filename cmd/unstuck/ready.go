package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/terminal"
)

const (
	readyEvery  = time.Second     // between two questions
	readyOnce   = 5 * time.Second // for one
	maxReadyLen = 1 << 20         // bytes of an answer
)

func newReadyCommand() *cobra.Command {
	var patience time.Duration
	var output *cli.Output
	cmd := &cobra.Command{
		Use:   "ready URL",
		Short: "Wait until an Unstuck is ready",
		Long: `Wait until the Unstuck whose metrics are at URL says that it is ready: the loop of each broker has reconciled lately.
"helm test" runs this in the cluster.

The exit code is 0 once it is ready, and 1 if it is not in time.`,
		Example: "  unstuck ready http://unstuck.unstuck:9090 --wait 2m",
		Args:    cli.Exactly(1, "a URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := readyURL(args[0])
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), patience)
			defer stop()
			ready, err := awaitReady(ctx, at)
			if err != nil {
				return err
			}
			if output.JSON() {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(ready)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ready: targets that reconcile: %d\n", len(ready.Targets))
			return err
		},
	}
	output = cli.AddOutput(cmd)
	cmd.Flags().DurationVar(&patience, "wait", time.Minute, "how long to wait")
	return cmd
}

// readyURL gives where to ask. A URL may have a password in it, and so is never repeated.
func readyURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return "", cli.UsageError("URL: want http://HOST:PORT, where the metrics are")
	}
	return u.JoinPath("readyz").String(), nil
}

// awaitReady asks until the answer is yes or ctx ends. The error then has the last answer.
func awaitReady(ctx context.Context, at string) (brokers.Readiness, error) {
	last := errors.New("no time to ask")
	for {
		ready, err := askReady(ctx, at)
		if err == nil {
			return ready, nil
		}
		if ctx.Err() == nil { // else it is our own end that cut it off
			last = err
		}
		select {
		case <-ctx.Done():
			return ready, fmt.Errorf("not ready in time: %w", last)
		case <-time.After(readyEvery):
		}
	}
}

func askReady(ctx context.Context, at string) (ready brokers.Readiness, err error) {
	ctx, stop := context.WithTimeout(ctx, readyOnce)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return ready, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return ready, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReadyLen))
	if err != nil {
		return ready, fmt.Errorf("read the answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var p httpapi.Problem
		if json.Unmarshal(body, &p) != nil || p.Detail == "" {
			return ready, fmt.Errorf("the answer is %d", answer.StatusCode)
		}
		return ready, fmt.Errorf("%s%s", terminal.Printable(p.Detail), lateOnes(p.Late))
	}
	if err := json.Unmarshal(body, &ready); err != nil || ready.Status != "ready" {
		return ready, errors.New("the answer is not that of an Unstuck")
	}
	return ready, nil
}

func lateOnes(late []string) string {
	if len(late) == 0 {
		return ""
	}
	return " (" + terminal.Printable(strings.Join(late, ", ")) + ")"
}
