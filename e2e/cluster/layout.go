package cluster

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/sandbox"
)

// The addresses of the cluster. They exist in its own network alone, so no other network has to differ.
const (
	hostName   = "unstuck-e2e"
	hostIP     = "10.88.255.1" // of the host that runs the pods, the API server and CoreDNS
	apiPort    = "6443"
	podRange   = "10.88.0.0/17"
	services   = "10.89.0.0/24"
	apiService = "10.89.0.1" // the first of that range is always the API server's
)

// layout is where a cluster's files are. Most are written once, before it starts.
type layout struct {
	dir string
	bin string // the programs
}

// The directories below a cluster's own.
const (
	logDir   = "log"  // what the programs print
	confDir  = "conf" // their configuration
	pkiDir   = "pki"  // keys and certificates
	libDir   = "lib"  // /var/lib
	vlogDir  = "vlog" // /var/log
	brokers  = "lib/brokers"
	fakesDir = "fakes" // settings of the kernel; see sysctls
)

// sysctls are settings that the kubelet wants of the kernel, and would change for the whole machine. It is shown files
// that have them already. https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet
// (protect-kernel-defaults)
var sysctls = map[string]string{
	"vm/overcommit_memory":     "1",
	"vm/panic_on_oom":          "0",
	"kernel/panic":             "10",
	"kernel/panic_on_oops":     "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

//go:embed conf/*
var confFiles embed.FS

// write writes all files and says what to run.
func (l layout) write() (sandbox.Spec, error) {
	var spec sandbox.Spec
	for _, dir := range []string{logDir, confDir, pkiDir, libDir, vlogDir, brokers, fakesDir, "data"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o755); err != nil {
			return spec, err
		}
	}
	if err := errors.Join(os.Symlink(l.bin, filepath.Join(l.dir, "bin")), l.writeCertificates(),
		l.writeConf()); err != nil {
		return spec, err
	}
	spec = sandbox.Spec{
		Hostname: hostName, Address: hostIP,
		Mounts: []sandbox.Mount{
			{From: filepath.Join(l.dir, libDir), To: "/var/lib"},
			{From: filepath.Join(l.dir, vlogDir), To: "/var/log"},
		},
		Sysctls: map[string]string{"ipv4/ip_forward": "1"},
	}
	for path, value := range sysctls {
		fake := filepath.Join(l.dir, fakesDir, filepath.Base(path))
		if err := os.WriteFile(fake, []byte(value), 0o600); err != nil {
			return spec, err
		}
		spec.Mounts = append(spec.Mounts, sandbox.Mount{From: fake, To: "/proc/sys/" + path})
	}
	for _, argv := range l.commands() {
		name := filepath.Base(argv[0])
		spec.Processes = append(spec.Processes, sandbox.Process{
			Name: name, Argv: argv, Log: filepath.Join(l.dir, logDir, name+".log"),
			Env: []string{"PATH=" + l.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		})
	}
	return spec, nil
}

func (l layout) program(name string) string { return filepath.Join(l.bin, name) }
func (l layout) conf(name string) string    { return filepath.Join(l.dir, confDir, name) }
func (l layout) pki(name string) string     { return filepath.Join(l.dir, pkiDir, name) }

// commands gives the programs with their arguments. They start at once, in no order.
func (l layout) commands() [][]string {
	command := func(name string, args ...string) []string { return append([]string{l.program(name)}, args...) }
	return [][]string{
		command("etcd", "--name=e2e", "--data-dir="+filepath.Join(l.dir, "data", "etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=e2e=http://127.0.0.1:2380", "--log-level=warn"),
		command("containerd", "--config="+l.conf("containerd.toml")),
		command("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
			"--secure-port="+apiPort, "--advertise-address="+hostIP, "--service-cluster-ip-range="+services,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
			"--client-ca-file="+l.pki("ca.crt"),
			"--tls-cert-file="+l.pki("apiserver.crt"), "--tls-private-key-file="+l.pki("apiserver.key"),
			"--kubelet-certificate-authority="+l.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-client-certificate="+l.pki("admin.crt"), "--kubelet-client-key="+l.pki("admin.key"),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file="+l.pki("accounts.key"), "--service-account-signing-key-file="+l.pki("accounts.key")),
		command("kube-controller-manager", "--kubeconfig="+l.conf("kube-controller-manager.kubeconfig"),
			"--leader-elect=false",
			"--use-service-account-credentials", "--root-ca-file="+l.pki("ca.crt"),
			"--service-account-private-key-file="+l.pki("accounts.key")),
		command("kube-scheduler", "--kubeconfig="+l.conf("kube-scheduler.kubeconfig"), "--leader-elect=false"),
		command("kubelet", "--config="+l.conf("kubelet.yaml"), "--kubeconfig="+l.conf("kubelet.kubeconfig"),
			"--hostname-override="+hostName, "--node-ip="+hostIP),
		command("kube-proxy", "--config="+l.conf("kube-proxy.yaml")),
		command("coredns", "-conf="+l.conf("Corefile")),
	}
}

// writeCertificates writes what each program and the administrator identify themselves with.
func (l layout) writeCertificates() error {
	ca, err := newAuthority(filepath.Join(l.dir, pkiDir))
	if err != nil {
		return err
	}
	if err := errors.Join(
		ca.signingKey("accounts.key"),
		ca.issue("apiserver", "kube-apiserver", "", "127.0.0.1", hostIP, apiService, "localhost", "kubernetes",
			"kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
		ca.issue("admin", "admin", "system:masters"),
		ca.issue("kube-controller-manager", "system:kube-controller-manager", ""),
		ca.issue("kube-scheduler", "system:kube-scheduler", ""),
		ca.issue("kubelet", "system:node:"+hostName, "system:nodes", hostName, hostIP),
		ca.issue("kube-proxy", "system:kube-proxy", ""),
		ca.issue("coredns", "coredns", ""),
		ca.issue(registryCert, registryHost, "", registryHost),
	); err != nil {
		return err
	}
	for _, user := range []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"} {
		if err := l.writeKubeconfig(l.conf(user+".kubeconfig"), "https://127.0.0.1:"+apiPort, user); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig writes a kubeconfig for a user who has a certificate.
func (l layout) writeKubeconfig(path, server, user string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: %[3]q}}]
clusters: [{name: e2e, cluster: {server: %[1]q, certificate-authority: %[2]q}}]
users: [{name: %[3]q, user: {client-certificate: %[4]q, client-key: %[5]q}}]
`, server, l.pki("ca.crt"), user, l.pki(user+".crt"), l.pki(user+".key"))
	return os.WriteFile(path, []byte(text), 0o600)
}

// writeConf fills in the files of the directory conf.
func (l layout) writeConf() error {
	all, err := template.ParseFS(confFiles, "conf/*")
	if err != nil {
		return err
	}
	values := map[string]string{
		"Conf": filepath.Join(l.dir, confDir), "PKI": filepath.Join(l.dir, pkiDir), "Bin": l.bin,
		"Cgroup": "/" + sandbox.CgroupName(l.dir), "HostName": hostName, "HostIP": hostIP, "PodRange": podRange,
		"PauseImage": artifact.ToolImage,
	}
	for _, t := range all.Templates() {
		var b bytes.Buffer
		if err := t.Option("missingkey=error").Execute(&b, values); err != nil {
			return err
		}
		path := l.conf(t.Name())
		if strings.HasSuffix(path, ".conflist") { // the container runtime reads a directory of these
			path = filepath.Join(l.dir, confDir, "cni", t.Name())
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}
