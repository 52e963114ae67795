package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// newNode takes ports for a node. Each has an address of its own, but epmd knows a node by the part of its name
// before the @, and RabbitMQ checks by port whether a node runs already: so both differ.
func (l *Lab) newNode(ctx context.Context, i int, addr netip.Addr) (*node, error) {
	n := &node{
		lab: l, name: fmt.Sprintf("rabbit-%d", i), host: addr.String(),
		dir:     filepath.Join(l.dir, fmt.Sprintf("rabbit-%d", i)),
		uid:     newUID(),
		log:     new(ring),
		deletes: make(chan deletion, 1),
	}
	hosts := []string{n.host}
	for _, other := range l.nodes {
		hosts = append(hosts, other.host)
	}
	for _, port := range []*int{&n.amqp, &n.amqps, &n.dist} {
		p, err := freePort(ctx, hosts...)
		if err != nil {
			return nil, err
		}
		*port = p
	}
	if n.dist == n.amqp || n.dist == n.amqps || n.amqp == n.amqps {
		return l.newNode(ctx, i, addr)
	}
	for _, other := range l.nodes {
		if n.dist == other.dist {
			return l.newNode(ctx, i, addr)
		}
	}
	return n, nil
}

// erlang is the node's name among Erlang nodes. A "long" name may hold an address, and then needs no DNS.
func (n *node) erlang() string { return n.name + "@" + n.host }

// conf is the node's rabbitmq.conf.
func (n *node) conf() string {
	l := n.lab
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if l.opts.TLSOnly {
		line("listeners.tcp = none")
	} else {
		line("listeners.tcp.1 = %s:%d", n.host, n.amqp)
	}
	line("default_user = %s", l.user)
	line("default_pass = %s", l.pass)
	line("log.file = false")
	line("log.console = true")
	line("log.console.level = info")
	if l.release.atLeast(3, 9) {
		line("log.console.use_colors = off")
	}
	line("disk_free_limit.absolute = 1MB")
	if t := l.opts.HandshakeTimeout; t > 0 {
		line("handshake_timeout = %d", t.Milliseconds())
	}
	if l.opts.TLS {
		line("listeners.ssl.1 = %s:%d", n.host, n.amqps)
		line("ssl_options.cacertfile = %s", l.inside(l.tls.CA))
		line("ssl_options.certfile = %s", l.inside(l.tls.server))
		line("ssl_options.keyfile = %s", l.inside(l.tls.serverKey))
		line("ssl_options.verify = verify_peer")
		line("ssl_options.fail_if_no_peer_cert = true")
	}
	if l.opts.TLSOnly {
		for _, setting := range strictConf(l.inside(l.tokens.public)) {
			line("%s", setting)
		}
	}
	if n.backend != nil {
		// It says who may log in, the broker itself what they may do. For whom it does not know the broker is asked.
		line("auth_backends.1.authn = http")
		line("auth_backends.1.authz = internal")
		line("auth_backends.2 = internal")
		line("auth_http.http_method = post")
		for _, what := range []string{"user", "vhost", "resource", "topic"} {
			line("auth_http.%s_path = %s/%s", what, n.backend.url, what)
		}
	}
	if len(l.nodes) < 2 {
		return b.String()
	}
	if len(l.nodes) > 2 { // what the cluster operator sets; of two nodes it would stop the one that is left
		line("cluster_partition_handling = pause_minority")
	}
	// Up to 3.13 the first node that takes a lock tries the others in vain and then starts on its own; they wait for
	// the lock and join it. Few and short attempts, then.
	line("cluster_formation.peer_discovery_backend = classic_config")
	line("cluster_formation.discovery_retry_limit = 2")
	line("cluster_formation.discovery_retry_interval = 100")
	for i, other := range l.nodes {
		line("cluster_formation.classic_config.nodes.%d = %s", i+1, other.erlang())
	}
	return b.String()
}

// env is the environment of a child whose home is dir.
func (l *Lab) env(home string) []string {
	return []string{
		l.marker(),
		"HOME=" + l.inside(home),
		"PATH=" + l.path,
		"LANG=C.UTF-8",
		fmt.Sprintf("ERL_EPMD_PORT=%d", l.epmd),
		"ERL_CRASH_DUMP_SECONDS=0", // write none
	}
}

// env is the environment of the node and of its command-line tools.
func (n *node) env() []string {
	dir := n.lab.inside(n.dir)
	erlArgs := "+S 1:1 -kernel inet_dist_use_interface {" + strings.ReplaceAll(n.host, ".", ",") + "}"
	return append(n.lab.env(n.dir),
		"RABBITMQ_CONF_ENV_FILE=/dev/null", // not the machine's own
		"RABBITMQ_USE_LONGNAME=true",
		"RABBITMQ_NODENAME="+n.erlang(),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", n.dist),
		"RABBITMQ_CONFIG_FILE="+dir+"/rabbitmq.conf",
		"RABBITMQ_ADVANCED_CONFIG_FILE="+dir+"/advanced.config",
		"RABBITMQ_GENERATED_CONFIG_DIR="+dir+"/generated",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+dir+"/enabled_plugins",
		"RABBITMQ_PLUGINS_DIR="+n.pluginsDir(),
		"RABBITMQ_MNESIA_BASE="+dir+"/data",
		"RABBITMQ_LOG_BASE="+dir+"/log",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+erlArgs,
		"RABBITMQ_CTL_ERL_ARGS="+erlArgs,
		"RABBITMQ_CTL_DIST_PORT_MIN=35672",
		"RABBITMQ_CTL_DIST_PORT_MAX=35772",
		// With input allowed the script makes way for the Erlang machine (exec) in place of waiting for it, so that our
		// child is the node itself. The rest is what the script adds otherwise.
		"RABBITMQ_ALLOW_INPUT=true",
		"RABBITMQ_SERVER_START_ARGS=-noinput +B i",
	)
}

// advancedConfig keeps RabbitMQ 4.0 from starting a vhost again after at most 30 s that VhostDown took down: it would
// do so for the first five minutes of a node's life.
const advancedConfig = `[{rabbit, [
	{vhost_process_reconciliation_enabled, false},
	{vhost_process_reconciliation_run_interval, 86400}
]}].
`

// pluginsDir is a directory with RabbitMQ's core alone in it, the plugins left out: a node then starts with a third
// less CPU. Where the core is not where we expect it, it is the whole directory.
func (n *node) pluginsDir() string { return n.lab.inside(filepath.Join(n.dir, "plugins")) }

// plugins names those that the node needs beside the core, and what they depend on.
func (n *node) plugins() []string {
	if n.backend != nil {
		return []string{httpBackend, "rabbit_common", "amqp_client"}
	}
	if n.lab.opts.TLSOnly {
		return slices.Concat(strictPlugins, strictPluginsNeed)
	}
	return nil
}

// enabled are the plugins that the node has to start.
func (n *node) enabled() string {
	if n.backend != nil {
		return httpBackend
	}
	if n.lab.opts.TLSOnly {
		return strings.Join(strictPlugins, ",")
	}
	return ""
}

const httpBackend = "rabbitmq_auth_backend_http"

func (n *node) writeFiles() error {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	for name, content := range map[string]string{
		".erlang.cookie":  n.lab.cookie,
		"rabbitmq.conf":   n.conf(),
		"enabled_plugins": "[" + n.enabled() + "].\n",
		"advanced.config": advancedConfig,
	} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write a file: %w", err)
		}
	}
	return n.linkPlugins()
}

func (n *node) linkPlugins() error {
	all, core, err := n.lab.plugins()
	if err != nil {
		return err
	}
	link := filepath.Join(n.dir, "plugins")
	if len(core) == 0 {
		return os.Symlink(n.lab.inside(all), link)
	}
	for _, plugin := range n.plugins() {
		found, err := filepath.Glob(filepath.Join(all, plugin+"-[0-9]*"))
		if err != nil || len(found) == 0 {
			return os.Symlink(n.lab.inside(all), link)
		}
		core = append(core, found...)
	}
	if err := os.Mkdir(link, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	for _, dir := range core {
		if err := os.Symlink(n.lab.inside(dir), filepath.Join(link, filepath.Base(dir))); err != nil {
			return fmt.Errorf("link RabbitMQ's core: %w", err)
		}
	}
	return nil
}

// address is where the node's AMQP listener is.
func (n *node) address() string {
	port := n.amqp
	if n.lab.opts.TLSOnly {
		port = n.amqps
	}
	return net.JoinHostPort(n.host, fmt.Sprint(port))
}
