package config

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/notify"
)

func TestNotifyKeysArrive(t *testing.T) {
	c := loaded(t, "testdata/good/full.yaml")
	file := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	hook := notify.DefaultReceiver()
	hook.Name, hook.Type, hook.URL = "hook", notify.JSON, "https://hooks.example.com/unstuck"
	hook.TokenFile, hook.SigningKeyFile, hook.HeadersFile = file("password"), file("password"), file("headers")
	want := []notify.Receiver{{
		Name: "chat", Type: notify.Slack, URLFile: file("url"), Page: "https://unstuck.example.com",
		Targets: []string{"rabbitmq"}, Events: []notify.Kind{notify.Opened, notify.Escalated, notify.Closed},
		Timeout: 5 * time.Second, GiveUpAfter: 2 * time.Hour, Queue: 50,
	}, hook}
	if diff := cmp.Diff(want, c.Notify); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNotifyReceiverIsFoundByName(t *testing.T) {
	c := loaded(t, "testdata/good/full.yaml")
	if r, err := c.Receiver("hook"); err != nil || r.Name != "hook" {
		t.Errorf("hook: %+v, error %v", r, err)
	}
	for _, name := range []string{"", "mail"} { // of two, none is meant by no name
		if r, err := c.Receiver(name); err == nil {
			t.Errorf("%q: %+v", name, r)
		}
	}
	c.Notify = c.Notify[:1]
	if r, err := c.Receiver(""); err != nil || r.Name != "chat" {
		t.Errorf("the only one: %+v, error %v", r, err)
	}
}
