// Command tool is what the cluster's own containers run. Without arguments it waits until it is told to end, as a
// pause container does.
//
//	tool fetch URL    get a page with the pod's service account, print it; fails unless it is there
//	tool lookup NAME  print the addresses that a name has
//	tool log          print a line every second, until it is silenced
//	tool silence      silence the first process of the container: it goes on, and prints nothing more
//
// It also stands in for the application that is deployed, at the commit that its image says:
//
//	tool serve        the frontend: listen, and print a line every second
//	tool single FILE  a singleton: note in the file when it begins and when it has ended
//	tool migrate DIR  a migration: print what Flyway prints, once the directory has no file "hold"
//	tool count WHAT   print twenty lines, one after the other, and end
//	tool registry DIR a registry of images, with the certificate in the directory
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		<-ctx.Done()
		return nil
	case args[0] == "fetch" && len(args) == 2:
		return fetch(ctx, args[1])
	case args[0] == "lookup" && len(args) == 2:
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[1])
		fmt.Println(strings.Join(addresses, "\n"))
		return err
	case args[0] == "log" && len(args) == 1:
		return chat(ctx)
	case args[0] == "silence" && len(args) == 1:
		return syscall.Kill(1, syscall.SIGUSR1)
	case args[0] == "serve" && len(args) == 1:
		return serve(ctx)
	case args[0] == "single" && len(args) == 2:
		return single(ctx, args[1])
	case args[0] == "migrate" && len(args) == 2:
		return migrate(ctx, args[1])
	case args[0] == "count" && len(args) == 2:
		return count(ctx, args[1])
	case args[0] == "registry" && len(args) == 2:
		return serveRegistry(ctx, args[1])
	}
	return errors.New("usage: tool [fetch URL | lookup NAME | log | silence | serve | single FILE | migrate DIR | count " +
		"WHAT | registry DIR]")
}

// account is where a pod finds its service account.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func fetch(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS12,
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, io.LimitReader(response.Body, 1<<20)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, response.Status)
	}
	return nil
}

// chat is what a frontend's log looks like that is asked for its health again and again.
func chat(ctx context.Context) error {
	silence := make(chan os.Signal, 1)
	signal.Notify(silence, syscall.SIGUSR1)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		fmt.Println("GET /healthz 200")
		select {
		case <-tick.C:
		case <-silence:
			<-ctx.Done()
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
