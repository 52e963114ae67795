package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeTree makes a tree with what the lab looks for in one, and gives its path.
func fakeTree(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const home = "usr/lib/rabbitmq/lib/rabbitmq_server-4.3.6"
	for _, dir := range []string{
		home + "/sbin", home + "/plugins/rabbit-4.3.6", home + "/plugins/" + httpBackend + "-4.3.6",
		home + "/plugins/rabbit_common-4.3.6", home + "/plugins/amqp_client-4.3.6", debianBin, "etc", "tmp",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(home, "sbin", "rabbitmq-server")
	if err := os.WriteFile(filepath.Join(root, script), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../lib/rabbitmq_server-4.3.6/sbin/rabbitmq-server", filepath.Join(root, debianBin, "rabbitmq-server")); err != nil {
		t.Fatal(err)
	}
	return root
}

// On RabbitMQ 4.3 erl_call crashed where the machine's name has no address, and so no lab came up.
func TestResolveOwnName(t *testing.T) {
	t.Run("writes it into a tree, and leaves it there", func(t *testing.T) {
		root := fakeTree(t)
		name, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, "etc", "hosts")
		var first os.FileInfo
		for range 2 {
			if err := resolveOwnName(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			hosts, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(hosts), "\n127.0.0.1 "+name+"\n") {
				t.Errorf("hosts %q, %v", hosts, err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if first != nil && !os.SameFile(first, info) {
				t.Error("written again")
			}
			first = info
		}
		if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("says which file it cannot write", func(t *testing.T) {
		root := t.TempDir()
		if err := resolveOwnName(t.Context(), root); err == nil || !strings.Contains(err.Error(), filepath.Join(root, "etc", "hosts.")) {
			t.Errorf("got %v", err)
		}
	})
}

// Over a link, the nodes' plugins were links to nowhere: RabbitMQ 4.3 then asked no authentication backend, and said so
// in its log alone.
func TestNodeLinkPluginsLinksToWhatTheNodeSees(t *testing.T) {
	root := fakeTree(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a tree": root, "a link to a tree": link, "not the shortest path": root + "/tmp/../"} {
		t.Run(name, func(t *testing.T) {
			l := &Lab{opts: Options{Root: path, Nodes: 1, HTTPBackend: true}, ctx: t.Context()}
			defer func() {
				l.closeBackends()
				closeAll(l.leases)
			}()
			if err := l.makePlace(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer l.lock.Close()
			plugins, err := filepath.Glob(filepath.Join(l.nodes[0].dir, "plugins", "*"))
			if err != nil || len(plugins) != 4 {
				t.Errorf("plugins %v, %v", plugins, err)
			}
			for _, plugin := range plugins {
				seen, err := os.Readlink(plugin) // by the node, in its chroot
				if err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(filepath.Join(root, seen)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLabPluginsMustBeInTheTree(t *testing.T) {
	root, other := fakeTree(t), fakeTree(t)
	script := filepath.Join(root, debianBin, "rabbitmq-server")
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(other, debianBin, "rabbitmq-server"), script); err != nil {
		t.Fatal(err)
	}
	l := &Lab{opts: Options{Root: root}, bin: debianBin}
	if _, _, err := l.plugins(); err == nil || !strings.Contains(err.Error(), "is not in "+root) {
		t.Errorf("plugins of another tree: %v", err)
	}
}
