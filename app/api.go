package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// api is how the API is served, and what it serves beside brokers and incidents.
type api struct {
	httpapi.Options

	brokers      brokers.Options
	environments *environments.Options // nil: there are none
	tls          *tls.Config           // nil: plain HTTP
}

// openAPI readies the API: its certificate, how much a caller may ask, and who knows callers. The reviews are the
// cluster's; nil: it is not asked.
func (a *App) openAPI(c *config.Config, reviews *auth.Reviews) error {
	if c.API.CertFile != "" {
		certificate, err := httpapi.NewCertificate(c.API.CertFile, c.API.KeyFile, a.log)
		if err != nil {
			return fmt.Errorf("api.tls: %w", err)
		}
		a.api.tls = certificate.Config()
		a.metrics.WatchCertificate(certificate.Validity)
		if from, until := certificate.Validity(); !holds(from, until) {
			a.log.Warn("the certificate of the API does not hold now: callers refuse it", "file", c.API.CertFile, "from", from,
				"until", until)
		}
	}
	a.api.Rate = httpapi.Rate{PerSecond: float64(c.API.PerSecond), Burst: c.API.Burst}
	a.api.Proxies = c.API.TrustedProxies
	known, err := authorities(c.API, reviews)
	if err != nil {
		return err
	}
	if len(known) > 0 { // or the interfaces would not be nil
		a.api.Identity, a.api.Access = known, known
	}
	return nil
}

// holds says whether it is now between the two.
func holds(from, until time.Time) bool {
	now := time.Now()
	return !now.Before(from) && !now.After(until)
}

// watchFiles has the metrics tell whether the files that the daemon is configured by are good, as its next start, or
// the next look at them, will find them.
func (a *App) watchFiles(c *config.Config) {
	if c.Path != "" {
		a.metrics.WatchFile(metrics.ConfigurationFile, func() error {
			_, err := config.Load(c.Path)
			return err
		})
	}
	if file := c.API.TokensFile; file != "" {
		a.metrics.WatchFile(metrics.TokensFile, func() error {
			_, err := config.ReadTokens(file)
			return err
		})
	}
	if c.API.CertFile != "" {
		a.metrics.WatchFile(metrics.CertificateFile, func() error {
			_, err := httpapi.NewCertificate(c.API.CertFile, c.API.KeyFile, a.log)
			return err
		})
	}
}

// serveManual lets people do to what is watched by then what they may: probe, delete and pause. Nobody else may use the
// store, unless it is a directory's.
func (a *App) serveManual(documents store.Documents) {
	a.api.brokers.Nodes, a.api.brokers.Pauses = manual{&a.fleet}, store.NewPauses(documents)
}

// tellAccess says in the log what everybody should know who can reach the API.
func (a *App) tellAccess(c *config.Config, address net.Addr) {
	switch {
	case a.api.Identity == nil && len(c.Environments) > 0:
		a.log.Warn("the API knows no callers: everybody who reaches it may read about brokers, and nothing of the "+
			"environments is served",
			"environments", len(c.Environments), "want", "api.tokens_file or api.kubernetes_auth")
	case a.api.Identity == nil:
		a.log.Info("the API knows no callers: everybody who reaches it may read, and nothing that changes anything is served")
	case a.api.tls == nil && !isLoopback(address):
		a.log.Warn("tokens reach the API unencrypted, unless something in front of it does TLS", "api", address.String(),
			"want", "api.tls")
	}
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// incidentsFor is for how long the incidents that were read are shown: asking again and again costs one read.
const incidentsFor = 2 * time.Second

// halves gives the API of both halves, and what says whether all loops reconcile.
func (a *App) halves() (api *httpapi.API, ready httpapi.Endpoint) {
	o, b := a.api.Options, a.api.brokers
	o.Log = a.log
	b.Snapshots, b.Incidents = a.snapshots, remediate.Recently(a.store.Incidents, incidentsFor)
	b.Known = a.known
	if a.found.looked {
		b.Discovery = a.found.told
	}
	halves := []func(*httpapi.Gate) httpapi.Half{brokers.Half(b)}
	if a.api.environments != nil {
		halves = append(halves, environments.Half(*a.api.environments))
	}
	return httpapi.New(o, halves...), brokers.Ready(b)
}
