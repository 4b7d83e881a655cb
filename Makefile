# What a person calls. `make test` sets up what it needs; `make help` is this file.
VERSION ?= $(shell tools/version)
GO      ?= go
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
FUZZ    ?= 400000x

.PHONY: build run test race lint fuzz chaos tune-vm box-test million soak bench proto pgo deb rpm repo install package-test clean

build: ; $(BUILD) -o bin/edged ./cmd/edged

run: build ; bin/edged demo

test: build ; tests/setup && tools/redis && $(GO) vet ./... && $(GO) test ./... && $(GO) test -C tools ./... && $(GO) test -tags e2e -count 1 ./tests/... ./examples/...

race: ; tools/redis && $(GO) test -race ./...

lint: ; tools/lint

fuzz: ; tools/fuzz $(FUZZ)

# CHAOS is "<duration> <users> [<seed>]": everything is killed every few seconds, nothing may be lost.
CHAOS ?= 2m 1000
chaos: build ; tools/redis && EDGED_CHAOS='$(CHAOS)' $(GO) test -tags e2e -count 1 -timeout 30m -run TestChaos -v ./tests

# SCHEDULES random schedules, or as many as SOAK_SECONDS allow, from SEED on; then 15,000 links whose gateway is replaced and killed SOAK_TIMES
# in a row, and an upgrade of the package under them, for which it needs root. The table of docs/SOAK.md comes from bin/soak.md.
SCHEDULES  ?= 100
SOAK_TIMES ?= 20
soak: build ; tools/redis && EDGED_SOAK='$(CURDIR)/bin/soak.md' EDGED_SCHEDULES='$(SCHEDULES) $(SEED)' EDGED_SOAK_SECONDS='$(SOAK_SECONDS)' EDGED_SOAK_TIMES='$(SOAK_TIMES)' $(GO) test -tags e2e -count 1 -timeout 24h -run TestSoak -v ./tests

tune-vm: build ; tests/lab/vm --queues 4 --suite bookworm --timeout 1800 --copy bin/edged:/usr/bin/edged --copy tests/lab/tune:/lab/tune --beside 'while sleep 1; do bin/edged swarm --target $$ADDR:7000 --login none --silent --links 4000 --duration 10m --quiet; done >/dev/null 2>&1' -- bash /lab/tune $(SEED)

# What very many links cost a gateway, in a machine of their own: docs/CAPACITY.md. A million takes half an hour and 11 GB of memory.
million: build ; tests/lab/million $(LINKS)

# In throw-away Debian boxes with systemd 247, 252 and 257; needs root.
box-test: build ; tests/lab/boxes reload,keeper

bench: ; $(GO) run ./bench/run -rounds '$(or $(ROUNDS),5)' -only '$(ONLY)' -base '$(BASE)' -json '$(JSON)'

proto: ; api/generate.sh

pgo: ; tools/pgo

# Packages in dist/, for each of ARCHES; dist/repo is a signed repository of them for apt and for dnf.
ARCHES ?= amd64 arm64
deb rpm: ; for arch in $(ARCHES); do VERSION='$(VERSION)' tools/packages $$arch $@ || exit; done

repo: ; rm -f dist/*.deb dist/*.rpm
	$(MAKE) deb rpm
	tools/repo

# Below DESTDIR, without starting or enabling anything: for systems without apt and dnf.
install: ; VERSION='$(VERSION)' tools/packages $$($(GO) env GOHOSTARCH) && packaging/install bin/package/$$($(GO) env GOHOSTARCH) '$(DESTDIR)'

# What apt and dnf do to a box, in throw-away ones; ONLY names a part of the tests, SUITES the releases of Debian.
package-test: ; tests/lab/package $(ONLY)

clean: ; rm -rf bin dist
