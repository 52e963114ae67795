#!/bin/sh
# Makes a Debian tree with another release's RabbitMQ in it, for lab.Options.Root.
#
#   sudo lab/tree.sh DIR SUITE        e.g. lab/tree.sh /var/tmp/unstuck-trixie trixie   (RabbitMQ 4.0)
#
# The suites: bullseye 3.8, bookworm 3.10, trixie 4.0, forky 4.3 (testing: its versions move).
#
# Does nothing if DIR is there already. DIR appears only once it is complete: it is made under another name beside
# it and renamed. The mirror is the one from which this machine's own packages come.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: $0 DIR SUITE" >&2
	exit 64
fi
dir=$1 suite=$2
if [ -d "$dir" ]; then
	exit 0
fi
if ! command -v debootstrap >/dev/null; then
	echo "debootstrap is missing: apt-get install debootstrap" >&2
	exit 69
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "making a Debian tree needs root" >&2
	exit 77
fi
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | sort -u | head -n 1)
if [ -z "$mirror" ]; then
	echo "no Debian mirror among this machine's apt sources" >&2
	exit 69
fi

# A suite that is newer than this machine's debootstrap is made as sid is.
script=
if [ ! -e "/usr/share/debootstrap/scripts/$suite" ]; then
	script=/usr/share/debootstrap/scripts/sid
fi

mkdir -p "$(dirname "$dir")"
partial=$(mktemp -d "$dir.partial.XXXXXX")
trap 'rm -rf "$partial" "$partial.log"' EXIT
trap 'exit 1' HUP INT TERM
# Erlang's HTTP client asks for certificates before each request, also where it needs none.
debootstrap --variant=minbase --include=rabbitmq-server,procps,ca-certificates "$suite" "$partial" "$mirror" $script >"$partial.log" 2>&1 || {
	tail -n 20 "$partial.log" >&2
	exit 1
}
rm -rf "$partial"/var/cache/apt/archives/*.deb
chmod 755 "$partial"
mv -nT "$partial" "$dir" # or somebody else was faster
rm -rf "$partial"
