# `make` lists what there is to do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What may be set on the command line:
ARGS ?=#          more arguments for `make demo`, --keep for example
TESTFLAGS ?=#     more flags for `make test`: -v, -run 'TestName', -count=3
PKG ?= ./...#     what `make test` and `make bench` look at
FUZZ ?= .#        which fuzz targets `make fuzz` runs
FUZZTIME ?= 30s#  for how long each
BENCH ?= .#       which benchmarks `make bench` runs
BENCHTIME ?= 1s#  for how long each
RABBITMQ ?= 4.0#  which RabbitMQ `make cluster` starts: 3.10 or 4.0
SITUATION ?=#     the one of probe/testdata/recordings that `make recordings` is for; default all
VERSION ?= 3.8 3.10 4.0 4.3# which RabbitMQ `make tree`, `make matrix` and `make recordings` are for
NEWEST ?= ^a_wedged|^wedged|frozen_process|metadata|used_up|max_reached|one_node_cannot|backend_that_hangs|in_mid# which rows of the table of faults `make newest` runs; .* for all
ROUNDS ?= 20#    how many rounds `make soak` runs
SEED ?= 1#       what they are drawn from
FROM ?= 1#       the number of the first of them
RELEASE ?= v0.0.0-dry# which version `make release-dry` makes
DIST ?= dist#    where to
PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64# and with archives for what
NODE ?= rabbitmq-1-rabbitmq-1# which node of that one `make cluster-wedge` breaks
RABBITMQ_ROOT ?= $(UNSTUCK_RABBITMQ_ROOT)# a tree with another RabbitMQ in it, such as `make tree` makes, for `make test` and `make demo`

export UNSTUCK_RABBITMQ_ROOT := $(if $(strip $(RABBITMQ_ROOT)),$(abspath $(strip $(RABBITMQ_ROOT))))

golangci := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk -F ' \\?=|#' '/^[A-Z_]+ \?=/ { gsub(/^ +/, "", $$3); printf "  %-18s %s\n", $$1, $$3 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: demo-deps build ## break a node of a real three-node RabbitMQ and watch it being cured
	@bin/unstuck-demo $(ARGS)

.PHONY: test
test: deps axe ## run all tests: unit, race, and against real RabbitMQ
ifeq ($(strip $(PKG)),./...)
	@# Seconds count in the demo, so its test has the machine for itself; and in many others, so the two packages that keep
	@# dozens of brokers busy come last.
	@failed=0; \
	  go test -race -timeout 10m $(TESTFLAGS) ./cmd/unstuck-demo || failed=1; \
	  go test -race -timeout 20m $(TESTFLAGS) $$(go list ./... | grep -vE '/(app|lab|cmd/unstuck-demo)$$') || failed=1; \
	  go test -race -parallel 4 -timeout 40m $(TESTFLAGS) ./app ./lab || failed=1; \
	  exit $$failed
else
	go test -race -parallel 4 -timeout 40m $(TESTFLAGS) $(PKG)
endif

.PHONY: quick
quick: ## run the tests that need no broker, browser or cluster: the first signal, in two minutes
	go test $(TESTFLAGS) ./auth ./cli ./clock ./config ./kube/... ./metrics ./notify ./probe/... ./release/... ./remediate/... ./target ./terminal ./trigger ./version

.PHONY: newest
newest: deps tree-4.3 ## run the rows of NEWEST of the table of faults on the newest RabbitMQ
	UNSTUCK_RABBITMQ_ROOT='$(CURDIR)/.cache/rabbitmq-4.3' \
	  go test -race -count=1 -parallel 4 -timeout 25m -run '^TestTableHoldsInEveryRow$$/^rows$$/($(strip $(NEWEST)))' $(TESTFLAGS) ./app

.PHONY: check
check: tidy lint build ## look at everything that needs no broker: format, vet, modules, lint rules, build
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	  if [[ -n $$unformatted ]]; then echo "gofmt these: $$unformatted" >&2; exit 1; fi
	go vet ./...
	go test -count=1 -run '^TestWordsThatAreRetiredAreUsedNowhere$$' ./cmd/unstuck
	go -C tools vet ./...
	go -C tools test -count=1 $$(go -C tools list ./... | grep -v /release/whole$$)
	go -C e2e vet ./...
	@for script in .ci/run $$(git ls-files -co --exclude-standard '*.sh'); do bash -n "$$script"; done

.PHONY: tidy
tidy: ## check that every module lists what it needs, no more and no less, and got what it lists
	@for module in . tools tools/actionlint tools/helm tools/oldest tools/openapi e2e e2e/kubernetes e2e/containerd e2e/coredns; do \
	  echo "go -C $$module mod tidy -diff"; go -C $$module mod tidy -diff; done
	go mod verify
	go -C tools mod verify

.PHONY: lint
lint: ## run the linters
	go tool -modfile=tools/actionlint/go.mod actionlint
	$(golangci) config verify
	$(golangci) run --allow-serial-runners ./...
	cd e2e && go tool -modfile=../tools/go.mod golangci-lint run --allow-serial-runners ./...

.PHONY: bench
bench: deps ## run the benchmarks and print their figures
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -timeout 30m $(PKG)

.PHONY: fuzz
fuzz: ## run each fuzz target of FUZZ for FUZZTIME
	@tools/fuzz.sh $(FUZZTIME) '$(strip $(FUZZ))'

.PHONY: build
build: ## build bin/unstuck and bin/unstuck-demo
	go build -trimpath -o bin/ ./cmd/...

.PHONY: release-dry
release-dry: ## build all of a release into DIST, without a registry: archives, SBOMs, images, chart, manifest for krew
	go -C tools run ./release -version '$(strip $(RELEASE))' -out '$(abspath $(strip $(DIST)))' -platforms '$(strip $(PLATFORMS))'
	tools/image.sh '$(abspath $(strip $(DIST)))/image/' VERSION='$(strip $(RELEASE))' COMMIT="$$(git rev-parse HEAD)"

.PHONY: release-test
release-test: ## do that, and look into each product
	@tools/deps.sh buildah:buildah
	PLATFORMS='$(strip $(PLATFORMS))' go -C tools test -count=1 -timeout 20m $(TESTFLAGS) ./release/whole

.PHONY: demo-deps
demo-deps:
	@tools/deps.sh rabbitmq-server:rabbitmq-server

.PHONY: deps
deps: demo-deps ## install what tests and demo need, if it is missing
	@tools/deps.sh iptables:iptables gcc:gcc,libc6-dev buildah:buildah \
	  prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager \
	  prometheus-blackbox-exporter:prometheus-blackbox-exporter chromium:chromium curl:curl

.PHONY: axe
axe: ## fetch what looks in the tests whether everybody can use the page
	@tools/deps.sh npm:npm
	@tools/axe.sh

.PHONY: screenshots
screenshots: deps ## take the pictures of docs/page.md and docs/dashboard.md anew
	mkdir -p docs/page
	go test -count=1 -run TestDemoIsFollowedInABrowser ./cmd/unstuck-demo -args -screenshots '$(CURDIR)/docs/page'
	go test -count=1 -run TestAlertsOfARealPrometheus ./app -args -screenshots '$(CURDIR)/docs'

.PHONY: tree
tree: $(VERSION:%=tree-%) ## make trees with each RabbitMQ of VERSION, for RABBITMQ_ROOT=.cache/rabbitmq-4.3: minutes each, once

.PHONY: tree-3.8 tree-3.10 tree-4.0 tree-4.3
tree-3.8: suite := bullseye
tree-3.10: suite := bookworm
tree-4.0: suite := trixie
tree-4.3: suite := forky
tree-3.8 tree-3.10 tree-4.0 tree-4.3: tree-%:
	@tools/deps.sh debootstrap:debootstrap
	lab/tree.sh .cache/rabbitmq-$* $(suite)

.PHONY: recordings
recordings: deps tree ## ask real nodes of each RabbitMQ of VERSION anew what probe/testdata/recordings keeps: half an hour
	@for version in $(VERSION); do \
	  echo "RabbitMQ $$version"; \
	  go test -count=1 -timeout 60m -run '^TestRecordings$$' ./lab -args -root '$(CURDIR)/.cache/rabbitmq-'$$version \
	    -recordings '$(CURDIR)/probe/testdata/recordings/'$$version -only '$(SITUATION)'; done

.PHONY: matrix
matrix: deps tree ## run the table of faults on each RabbitMQ of VERSION, one after the other, and write docs/supported.md: an hour
	@for version in $(VERSION); do \
	  echo "RabbitMQ $$version"; \
	  UNSTUCK_RABBITMQ_ROOT='$(CURDIR)/.cache/rabbitmq-'$$version \
	    go test -count=1 -timeout 60m -run '^TestTableHoldsInEveryRow$$' $(TESTFLAGS) ./app -args -matrix; done
	UNSTUCK_RABBITMQ_ROOT= go test -count=1 -timeout 60m -run '^TestChecksOfOthers' $(TESTFLAGS) ./app -args -matrix

.PHONY: soak
soak: deps tree ## run ROUNDS rounds of random faults, versions, loads and times, drawn from SEED, beginning with round FROM
	go test -count=1 -timeout 0 -run '^TestSoak$$' -v $(TESTFLAGS) ./app -args -rounds $(ROUNDS) -seed $(SEED) -from $(FROM) -workers 2 -suspend

.PHONY: cluster
cluster: cluster-deps build ## start a real Kubernetes with a RabbitMQ, an application and Unstuck; one that runs is removed first
	@cd e2e && GOWORK=off go run ./cmd/cluster -rabbitmq '$(strip $(RABBITMQ))' up

.PHONY: cluster-wedge
cluster-wedge: ## break a node on it: every login to NODE hangs, as in the incident
	@cd e2e && GOWORK=off go run ./cmd/cluster wedge '$(strip $(NODE))'

.PHONY: cluster-parts
cluster-parts: cluster-deps ## make what cluster and e2e need, and start nothing: a quarter of an hour the first time
	@cd e2e && GOWORK=off go run ./cmd/cluster make

.PHONY: cluster-down
cluster-down: ## remove every trace of that cluster, and of what a killed `make e2e` left
	@cd e2e && GOWORK=off go run ./cmd/cluster down

.PHONY: e2e
e2e: cluster-deps ## run the tests on a real cluster of their own
	cd e2e && GOWORK=off go test -count=1 $(TESTFLAGS) ./sandbox ./artifact ./cluster ./cmd/...
	cd e2e && GOWORK=off go test -count=1 -parallel 3 -timeout 55m $(TESTFLAGS) .

.PHONY: e2e-bench
e2e-bench: cluster-deps ## measure on a real cluster what the daemon costs, and how long a cure takes
	cd e2e && GOWORK=off go test -run '^$$' -bench . -benchtime 1x -timeout 30m .

.PHONY: cluster-deps
cluster-deps:
	@tools/deps.sh ip:iproute2 nft:nftables runc:runc debootstrap:debootstrap tar:tar \
	  /usr/lib/cni/ptp:containernetworking-plugins buildah:buildah \
	  prometheus:prometheus prometheus-alertmanager:prometheus-alertmanager

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf --one-file-system bin dist .cache
