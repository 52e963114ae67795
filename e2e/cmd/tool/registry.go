package main

import (
	"context"
	"crypto/subtle"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// serveRegistry serves a registry of images, which are kept in memory, with the certificate in a directory, to who
// knows the user and the password that stand in the environment.
func serveRegistry(ctx context.Context, dir string) error {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{
		Addr: ":5000", ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if !same(user, os.Getenv("REGISTRY_USER")) || !same(password, os.Getenv("REGISTRY_PASSWORD")) {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				http.Error(w, "say who you are", http.StatusUnauthorized)
				return
			}
			images.ServeHTTP(w, r)
		}),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.ListenAndServeTLS(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if ctx.Err() != nil { // it was told to end
		return nil
	}
	return err
}

func same(a, b string) bool { return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
