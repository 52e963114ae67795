#!/usr/bin/env bash
# Builds the image from the Dockerfile without registry, daemon, network or emulation:
#
#   tools/image.sh OUT.tar [BUILD_ARG=VALUE]...    for this machine
#   tools/image.sh DIR/ [BUILD_ARG=VALUE]...       for linux/amd64 and linux/arm64
#
# DIR/ becomes an OCI layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md) with one index.
# OUT.tar is a Docker archive of unstuck.local/unstuck:e2e, as `ctr images import`, `docker load` and `kind load
# image-archive` take it. In the place of the public base images stand an image with this machine's shell, to which
# its Go toolchain and module cache are shown, and scratch. It takes root, and buildah. All that buildah keeps goes
# when this ends.
set -euo pipefail
want="want: tools/image.sh OUT.tar|DIR/ [BUILD_ARG=VALUE]..."
case ${1:?$want} in *.tar | */) ;; *) echo "$want" >&2 && exit 2 ;; esac
layout=$([[ $1 != */ ]] || echo yes)
out=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
tools/deps.sh buildah:buildah
name=unstuck.local/unstuck:e2e

# What the build needs from the network is fetched here, by the go command of this machine.
go mod download
goroot=$(go env GOROOT) modules=$(go env GOMODCACHE) cache=$(go env GOCACHE)

mkdir -p .cache "$(dirname "$out")"
work=$(mktemp -d "$PWD/.cache/image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
export TMPDIR=$work # of each RUN too
buildah=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)

# A shell, what it is linked to, and a place for Go: enough for the Dockerfile's RUN.
container=$("${buildah[@]}" from scratch)
mkdir -p "$work/rootfs"
for file in /bin/sh $(ldd /bin/sh | grep -oE '/[^ ]+'); do
  install -D "$file" "$work/rootfs$file"
done
mkdir -m 1777 "$work/rootfs/tmp"
"${buildah[@]}" copy --quiet "$container" "$work/rootfs" / >/dev/null
"${buildah[@]}" config \
  --env PATH=/usr/local/go/bin:/bin --env HOME=/tmp --env GOMODCACHE=/modules --env GOCACHE=/cache \
  --env GOPROXY=off --env GOTOOLCHAIN=local --env GOFLAGS=-mod=readonly "$container"
"${buildah[@]}" commit --quiet --rm "$container" localhost/build >/dev/null

args=()
for arg in "$@"; do args+=(--build-arg "$arg"); done
build() {
  # chroot needs no runtime of containers, and cannot cut the network off: unshare does.
  unshare --net "${buildah[@]}" build --quiet --pull-never --isolation chroot --layers=false \
    --build-arg BUILD_IMAGE=localhost/build --build-arg BASE_IMAGE=scratch "${args[@]}" \
    --volume "$goroot:/usr/local/go:ro" --volume "$modules:/modules:ro" --volume "$cache:/cache:rw" "$@" . >/dev/null
}

if [[ $layout ]]; then
  # The build image is of this machine. So each image is built here, and says afterwards which platform it is for.
  "${buildah[@]}" manifest create "$name" >/dev/null
  for arch in amd64 arm64; do
    build --build-arg TARGETOS=linux --build-arg TARGETARCH=$arch --tag "$name-$arch"
    container=$("${buildah[@]}" from --quiet --pull-never "$name-$arch")
    "${buildah[@]}" config --os linux --arch $arch "$container"
    "${buildah[@]}" commit --quiet --rm --manifest "$name" "$container" >/dev/null
  done
  "${buildah[@]}" manifest push --quiet --all --format oci "$name" "oci:$work/layout"
  rm -rf --one-file-system "$out"
  mv "$work/layout" "$out"
else
  build --build-arg TARGETOS=linux --tag "$name"
  "${buildah[@]}" push --quiet "$name" "docker-archive:$work/image.tar:$name"
  mv "$work/image.tar" "$out"
fi
