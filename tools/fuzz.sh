#!/usr/bin/env bash
# Runs each fuzz target of the module for a while: tools/fuzz.sh TIME. Go fuzzes one target a run, so they are found
# by name. It fails if a target fails, and if there is none. An input that is of interest is made smaller in 20 tries at
# most: by default that takes a minute each.
set -euo pipefail
duration=$1 found=0

while IFS=: read -r file target; do
  found=$((found + 1))
  echo "== ${file%/*} $target for $duration"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 20x "./${file%/*}"
done < <(git ls-files --cached --others --exclude-standard '*_test.go' |
  xargs grep -oE '^func Fuzz[A-Za-z0-9_]*' /dev/null | sed 's/:func /:/')

if ((found == 0)); then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "$found fuzz targets passed"
