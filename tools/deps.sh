#!/usr/bin/env bash
# Makes sure that commands are there: tools/deps.sh COMMAND:PACKAGE[,PACKAGE]...
#
# If all are, it does nothing and says nothing. Otherwise it installs the Debian packages named, which takes root
# and apt-get; without those it says in one line what is missing and fails. No system service is started: the tests
# start brokers, Prometheus, Alertmanager and blackbox_exporter of their own.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=() packages=()
for need in "$@"; do
  if ! command -v "${need%%:*}" >/dev/null; then
    missing+=("${need%%:*}")
    IFS=, read -ra names <<<"${need#*:}"
    packages+=("${names[@]}")
  fi
done
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null || ((EUID != 0)); then
  echo "missing: ${missing[*]}; as root on Debian or Ubuntu: apt-get install --no-install-recommends ${packages[*]}" >&2
  exit 1
fi

# Packages start their service when they are installed, unless policy-rc.d says no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

echo "installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get -qq update || echo "apt-get update failed; trying with the package lists that are there" >&2
apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${packages[@]}"

for command in "${missing[@]}"; do
  if ! command -v "$command" >/dev/null; then
    echo "$command is still missing after installing ${packages[*]}" >&2
    exit 1
  fi
done
