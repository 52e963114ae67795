package metrics

import (
	"maps"
	"sync"

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

var fileValid = prometheus.NewDesc("unstuck_file_valid",
	"1 while a file that we are configured by could be read now and is valid, 0 while it could not or is not.", []string{"file"}, nil)

// files are checked at each scrape: what is wrong with one is known before a restart, or a caller, runs into it.
type files struct {
	mu     sync.Mutex
	checks map[File]func() error
}

// WatchFile has check called at each scrape; it reads the file as the daemon would, and gives an error if it is not
// good. It must be quick, and may be called by several goroutines at once.
func (m *Metrics) WatchFile(f File, check func() error) {
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	m.files.checks[f] = check
}

// Describe names what is collected.
func (*files) Describe(ch chan<- *prometheus.Desc) { ch <- fileValid }

// Collect gives the files as they are now.
func (f *files) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	checks := maps.Clone(f.checks)
	f.mu.Unlock()
	for file, check := range checks {
		send(ch, fileValid, truth(check() == nil), string(file))
	}
}
