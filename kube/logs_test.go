package kube

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

func TestPodsLastLinesAreReadFromTheContainer(t *testing.T) {
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/api/v1/namespaces/production/pods/rabbit-1/log" || q.Get("container") != "rabbitmq" || q.Get("tailLines") != "20" ||
			q.Get("timestamps") != "true" || q.Has("limitBytes") {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, "2026-11-23T00:38:01Z line\n")
	}))
	lines, err := p.LastLines(t.Context(), n, 20)
	if err != nil || len(lines) != 1 || lines[0].Text != "line" {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestPodsLastLinesAreNotGivenIfTheyMayBeAnotherPods(t *testing.T) {
	var p *Pods
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.feed.mu.Lock()
		defer p.feed.mu.Unlock()
		other := p.feed.items["rabbit-1"]
		other.uid = "another"
		p.feed.items["rabbit-1"] = other
		fmt.Fprint(w, "2026-11-23T00:38:01Z line\n")
	}))
	if lines, err := p.LastLines(t.Context(), n, 20); !errors.Is(err, target.ErrChanged) {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestPodsLastLinesNamesThePermissionThatItLacks(t *testing.T) {
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","details":{"name":"rabbit-1","kind":"pods"},"code":403,"message":"pods \"rabbit-1\" is forbidden: User \"me\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"production\""}`)
	}))
	_, err := p.LastLines(t.Context(), n, 20)
	if missing, ok := errors.AsType[apiserver.NotAllowedError](err); !ok || missing.ResourceAttributes != (auth.ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns}) {
		t.Errorf("%v", err)
	}
}
