package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// File names a file that the daemon is configured by.
type File string

// The files.
const (
	ConfigurationFile File = "configuration"
	TokensFile        File = "tokens"
	CertificateFile   File = "certificate" // and its key
)

// Files lists every File.
func Files() []File { return []File{ConfigurationFile, TokensFile, CertificateFile} }

var (
	fileValid = prometheus.NewDesc("unstuck_file_valid",
		"1 while a file that we are configured by could be read now and is valid, 0 while it could not or is not.",
		[]string{"file"}, nil)
	certificateFrom = prometheus.NewDesc("unstuck_certificate_not_before_timestamp_seconds",
		"From when on the certificate holds that the API is served with. Missing without one.", nil, nil)
	certificateUntil = prometheus.NewDesc("unstuck_certificate_not_after_timestamp_seconds",
		"Until when the certificate holds that the API is served with. Missing without one.", nil, nil)
)

// files are checked at each scrape: what is wrong with one is known before a restart, or a caller, runs into it.
type files struct {
	mu       sync.Mutex
	checks   map[File]func() error
	validity func() (from, until time.Time) // of the certificate; nil: there is none
}

// WatchFile has check called at each scrape; it reads the file as the daemon would, and gives an error if it is not
// good. It must be quick, and may be called by several goroutines at once.
func (m *Metrics) WatchFile(f File, check func() error) {
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	m.files.checks[f] = check
}

// WatchCertificate has validity called at each scrape: from when to when the certificate of the API holds. It is to be
// called like the check of a file.
func (m *Metrics) WatchCertificate(validity func() (from, until time.Time)) {
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	m.files.validity = validity
}

// Describe names what is collected.
func (*files) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{fileValid, certificateFrom, certificateUntil} {
		ch <- d
	}
}

// Collect gives the files as they are now.
func (f *files) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	checks, validity := maps.Clone(f.checks), f.validity
	f.mu.Unlock()
	for file, check := range checks {
		send(ch, fileValid, truth(check() == nil), string(file))
	}
	if validity != nil {
		from, until := validity()
		send(ch, certificateFrom, float64(from.Unix()))
		send(ch, certificateUntil, float64(until.Unix()))
	}
}
