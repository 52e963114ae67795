package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// What the image of a commit sets. The stand-in for the application behaves as its commit does.
const (
	commitVariable  = "COMMIT"
	migrateVariable = "MIGRATE" // what a migration comes to: "yes", "fail", or else nothing to do
	crashVariable   = "CRASH"   // if it is set the frontend does not come up
)

// frontendPort is where the frontend's readiness probe connects.
const frontendPort = "8080"

// serve is the frontend: it is ready once it listens, and writes a line every second.
func serve(ctx context.Context) error {
	fmt.Println("frontend at commit", os.Getenv(commitVariable))
	if os.Getenv(crashVariable) != "" {
		return errors.New("connect to the database: no such column: colour")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", ":"+frontendPort)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			_ = conn.Close()
		}
	}()
	return chat(ctx)
}

// lastWords is how long a singleton goes on after it was told to end: long enough for another one to live beside it, if
// that were started too early.
const lastWords = 1500 * time.Millisecond

// single is a singleton. It notes in the file when it begins, and when it has ended, by the one clock of the host.
func single(ctx context.Context, path string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	note := func(what string) error {
		return appendLine(path, fmt.Sprintf("%s %s %d %s", what, host, time.Now().UnixNano(), os.Getenv(commitVariable)))
	}
	if err := note("begin"); err != nil {
		return err
	}
	<-ctx.Done()
	<-time.After(lastWords)
	return note("end")
}

// migrate is Flyway, in its own words (org.flywaydb.core.internal.command.DbMigrate). It notes in the directory's file
// "runs" that it ran, and waits for as long as there is a file "hold".
func migrate(ctx context.Context, dir string) error {
	commit := os.Getenv(commitVariable)
	fmt.Println("Flyway at commit", commit)
	if err := appendLine(filepath.Join(dir, "runs"), commit); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "hold")); errors.Is(err, fs.ErrNotExist) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	switch os.Getenv(migrateVariable) {
	case "yes":
		fmt.Println(`Migrating schema "public" to version "2 - colour"`)
		fmt.Println(`Successfully applied 1 migration to schema "public", now at version v2 (execution time 00:00.021s)`)
	case "fail":
		fmt.Println(`Migrating schema "public" to version "3 - shape"`)
		fmt.Println(`Migration of schema "public" to version "3 - shape" failed! Changes successfully rolled back.`)
		return errors.New("the migration failed")
	default:
		fmt.Println(`Schema "public" is up to date. No migration necessary.`)
	}
	return nil
}

// counted is how many lines count prints: for so long that who follows them sees them come.
const counted = 20

// count prints lines one after the other, as what takes a while does.
func count(ctx context.Context, what string) error {
	for i := range counted {
		fmt.Printf("%s %d of %d\n", what, i+1, counted)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return nil
}

// appendLine adds a line to a file that others add lines to as well.
func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}
