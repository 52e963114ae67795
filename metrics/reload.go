package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	reloadSuccessful = prometheus.NewDesc("unstuck_config_last_reload_successful",
		"1 while the configuration file is in force as it was last read, 0 while it is not and an older one is.", nil, nil)
	reloadSuccess = prometheus.NewDesc("unstuck_config_last_reload_success_timestamp_seconds",
		"When the configuration that is in force was read.", nil, nil)
	restartPending = prometheus.NewDesc("unstuck_config_restart_pending",
		"1 while the configuration file asks for something that takes a restart of the daemon, else 0.", nil, nil)
)

// reload is whether the configuration file is in force.
type reload struct {
	mu       sync.Mutex
	known    bool // else there is no file
	good     bool
	last     time.Time // when it was last good
	restarts bool
}

// ConfigLoaded says that the configuration file has been read and is in force since then, but for what takes a restart.
func (m *Metrics) ConfigLoaded(at time.Time, restartPending bool) {
	m.reload.mu.Lock()
	defer m.reload.mu.Unlock()
	m.reload.known, m.reload.good, m.reload.last, m.reload.restarts = true, true, at, restartPending
}

// ConfigRefused says that the configuration file is not in force as it is now: the one before is.
func (m *Metrics) ConfigRefused() {
	m.reload.mu.Lock()
	defer m.reload.mu.Unlock()
	m.reload.known, m.reload.good = true, false
}

// Describe names what is collected.
func (*reload) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{reloadSuccessful, reloadSuccess, restartPending} {
		ch <- d
	}
}

// Collect gives them as they are now.
func (r *reload) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		return
	}
	send(ch, reloadSuccessful, truth(r.good))
	send(ch, reloadSuccess, unix(r.last))
	send(ch, restartPending, truth(r.restarts))
}
