package artifact

import (
	"os"
	"os/exec"
	"runtime"
)

// needs are the programs of the machine's own that a cluster is made of, by Debian's package.
var needs = []struct{ program, pkg string }{
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"runc", "runc"},
	{"tar", "tar"},
	{"debootstrap", "debootstrap"},
	{"/usr/lib/cni/ptp", "containernetworking-plugins"},
}

// Missing says what this machine lacks for a cluster, in words that say what to do about it.
func Missing() []string {
	if runtime.GOOS != "linux" {
		return []string{"this is not Linux"}
	}
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "you are not root: namespaces, mounts and containers need it")
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		if _, err := os.Stat("/sys/fs/cgroup/memory/cgroup.procs"); err != nil {
			missing = append(missing, "no cgroups are mounted on /sys/fs/cgroup, or they may not be used")
		}
	}
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, "there is no "+n.program+": install the package "+n.pkg)
		}
	}
	return missing
}
