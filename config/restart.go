package config

import "reflect"

// fixed are the keys whose values are in force from the start of the daemon to its end: where it listens and keeps its
// records, how it reaches the cluster, who may call it, and what operations are made of.
var fixed = []struct {
	key string
	of  func(*Config) any
}{
	{"listen.metrics", func(c *Config) any { return c.Listen.Metrics }},
	{"listen.api", func(c *Config) any { return c.Listen.API }},
	{"log.format", func(c *Config) any { return c.Log.Format }},
	{"data_dir", func(c *Config) any { return c.DataDir }},
	{"api.tls", func(c *Config) any { return [2]string{c.API.CertFile, c.API.KeyFile} }},
	{"api.tokens_file", func(c *Config) any { return c.API.TokensFile }},
	{"api.kubernetes_auth", func(c *Config) any { return c.API.KubernetesAuth }},
	{"api.trusted_proxies", func(c *Config) any { return c.API.TrustedProxies }},
	{"api.rate_limit", func(c *Config) any { return [2]int{c.API.PerSecond, c.API.Burst} }},
	{"kubernetes", func(c *Config) any { return c.Kubernetes }},
	{"notify", func(c *Config) any { return c.Notify }},
	{"discovery", func(c *Config) any { return c.Discovery }},
	{"environments", func(c *Config) any { return c.Environments }},
}

// NeedsRestart gives the keys whose values in next only a restart brings into force where c is, in the order of
// docs/configuration.md; none: all that differs can take effect at once. That the first or the last target in
// Kubernetes comes or goes is one of "brokers", for the records are kept elsewhere then.
func (c *Config) NeedsRestart(next *Config) []string {
	var keys []string
	for _, f := range fixed {
		if !reflect.DeepEqual(f.of(c), f.of(next)) {
			keys = append(keys, f.key)
		}
	}
	if c.InCluster() != next.InCluster() {
		keys = append(keys, "brokers")
	}
	return keys
}
