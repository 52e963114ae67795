# The image of the daemon: one static program, run by a user that is not root. The base images are build arguments, so
# that a registry of yours, or an image of this machine, can stand in; tools/image.sh does so.
#
#   docker build --build-arg VERSION=v0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) -t registry.example/unstuck:0.1.0 .
#
# The build image is of the platform that builds, and Go compiles for the other one: `docker buildx build --platform
# linux/amd64,linux/arm64` emulates nothing. Renovate adds to both names the digest that they stand for, and keeps it; a
# release takes the digests that they have when it is built, and its provenance names them.
ARG BUILD_IMAGE=docker.io/library/golang:1.26
# It has the certificates of public authorities, for a broker whose tls section names no ca_file. Nothing else in it is
# needed: scratch does as well.
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
WORKDIR /src
# The modules change less often than the program: a layer of their own.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What `unstuck version` says: nobody can read it from a checkout here.
ARG VERSION="" COMMIT=""
# The platform that it is for, which the builder says.
ARG TARGETOS TARGETARCH
ENV VERSION_PACKAGE=github.com/cjworkbench/unstuck/version
RUN CGO_ENABLED=0 GOOS="$TARGETOS" GOARCH="$TARGETARCH" go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $VERSION_PACKAGE.builtVersion=$VERSION -X $VERSION_PACKAGE.builtCommit=$COMMIT" -o /out/unstuck ./cmd/unstuck

FROM ${BASE_IMAGE}
ARG VERSION="" COMMIT=""
LABEL org.opencontainers.image.title="unstuck" \
      org.opencontainers.image.description="Finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh" \
      org.opencontainers.image.source="https://github.com/cjworkbench/unstuck" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /out/unstuck /usr/bin/unstuck
# A number, so that Kubernetes can see that it is not root; distroless knows it as nonroot.
USER 65532:65532
# Metrics and health, and the API.
EXPOSE 9090 8080
ENTRYPOINT ["/usr/bin/unstuck"]
