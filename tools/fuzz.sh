#!/usr/bin/env bash
# Runs each fuzz target of the module whose name matches for a while: tools/fuzz.sh TIME REGEXP. Go fuzzes one target a
# run, so they are found by name, in the tests of this module alone. It fails if a target fails, and if there is none.
# An input that is of interest is made smaller in 20 tries at most: by default that takes a minute each.
set -euo pipefail
duration=$1 wanted=$2 found=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

fuzz() {
  go test -run '^$' -fuzz "^$2\$" -fuzztime "$duration" -fuzzminimizetime 20x "./$1" 2>&1 | tee "$output"
}

# Go before 1.27 now and then reports the end of the time as a failure (golang/go#75804). That names no input, as each
# failure of ours does, and only then the target is run again.
overslept() {
  grep -q '^ *context deadline exceeded$' "$output" && ! grep -q 'Failing input' "$output"
}

while IFS=: read -r file target; do
  [[ $target =~ $wanted ]] || continue
  found=$((found + 1))
  echo "== ${file%/*} $target for $duration"
  if ! fuzz "${file%/*}" "$target"; then
    overslept
    fuzz "${file%/*}" "$target"
  fi
done < <(go list -f '{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$d}}/{{.}}
{{end}}' ./... |
  xargs grep -oE '^func Fuzz[A-Za-z0-9_]*' /dev/null | sed "s#^$PWD/##; s/:func /:/")

if ((found == 0)); then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "$found fuzz targets passed"
