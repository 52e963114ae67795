package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// share is what three daemons say of one broker in their metrics.
type share struct{ leaders, watchers int }

// sharesOf gives who leads and who watches each broker.
func sharesOf(daemons []*served, brokers []string) map[string]share {
	all := make(map[string]share)
	for _, d := range daemons {
		r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.address("metrics")+"/metrics", http.NoBody)
		if err != nil {
			d.t.Fatal(err)
		}
		_, text := do(d.t, r)
		for _, name := range brokers {
			p := all[name]
			if strings.Contains(text, fmt.Sprintf("\nunstuck_leading{broker=%q} 1\n", name)) {
				p.leaders++
			}
			if strings.Contains(text, fmt.Sprintf("\nunstuck_broker_nodes_expected{broker=%q} ", name)) {
				p.watchers++
			}
			all[name] = p
		}
	}
	return all
}

// awaitPlaces waits until each broker has one leader, and so many watchers.
func awaitPlaces(t *testing.T, daemons []*served, brokers []string, watchers int) {
	t.Helper()
	for {
		wrong := ""
		for name, p := range sharesOf(daemons, brokers) {
			if p.leaders > 1 {
				t.Fatalf("%s has %d leaders", name, p.leaders)
			}
			if p.leaders != 1 || p.watchers != watchers {
				wrong += fmt.Sprintf("%s has %d leaders and %d watchers\n", name, p.leaders, p.watchers)
			}
		}
		if wrong == "" {
			return
		}
		select {
		case <-daemons[len(daemons)-1].ctx.Done():
			t.Fatal(wrong)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestThreeDaemonsShareTheBrokersAndTwoGoOnWhenOneStops(t *testing.T) {
	s := newSite(t)
	c := s.configure()
	c.Kubernetes.Shards, c.Kubernetes.Members = 8, 4
	one := c.Brokers[0]
	c.Brokers = nil
	var brokers []string
	for i := range 6 {
		one.Name = fmt.Sprintf("rabbit-%d", i)
		brokers = append(brokers, one.Name)
		c.Brokers = append(c.Brokers, one)
	}
	daemons := []*served{s.serveWith(c), s.serveWith(c), s.serveWith(c)}
	awaitPlaces(t, daemons, brokers, 2)

	ci := s.tokens["oncall"]
	elsewhere := 0
	for _, d := range daemons {
		for _, name := range brokers {
			status, text := d.ask(http.MethodGet, "/api/v1/brokers/"+name+"/nodes/a", ci, "")
			switch {
			case status == http.StatusOK:
			case status == http.StatusConflict && strings.Contains(text, "does not watch broker "+name+"; ask the replica that holds the lease unstuck-8-shard-"):
				elsewhere++
			default:
				t.Errorf("%s: %d %s", name, status, text)
			}
		}
	}
	if elsewhere != len(brokers) {
		t.Errorf("of %d brokers with two watchers, %d replicas of three say that another watches", len(brokers), elsewhere)
	}

	if err := daemons[0].stop(); err != nil {
		t.Fatal(err)
	}
	awaitPlaces(t, daemons[1:], brokers, 2)
}
