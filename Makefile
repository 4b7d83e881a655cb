# What a person calls. `make test` sets up what it needs; `make help` is this file.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO      ?= go
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
FUZZ    ?= 400000x

.PHONY: build run test race lint fuzz chaos tune-vm bench proto pgo clean

build: ; $(BUILD) -o bin/edged ./cmd/edged

run: build ; bin/edged demo

test: build ; tests/setup && tools/redis && $(GO) vet ./... && $(GO) test ./... && $(GO) test -tags e2e -count 1 ./tests/... ./examples/...

race: ; tools/redis && $(GO) test -race ./...

lint: ; tools/lint

fuzz: ; tools/fuzz $(FUZZ)

# CHAOS is "<duration> <users> [<seed>]": everything is killed every few seconds, nothing may be lost.
CHAOS ?= 2m 1000
chaos: build ; tools/redis && EDGED_CHAOS='$(CHAOS)' $(GO) test -tags e2e -count 1 -timeout 30m -run TestChaos -v ./tests

tune-vm: build ; tests/lab/vm --queues 4 --suite bookworm --timeout 1800 --copy bin/edged:/usr/bin/edged --copy tests/lab/tune:/lab/tune --beside 'while sleep 1; do bin/edged swarm --target $$ADDR:7000 --login none --silent --links 4000 --duration 10m --quiet; done >/dev/null 2>&1' -- bash /lab/tune $(SEED)

bench: ; $(GO) run ./bench/run -rounds '$(or $(ROUNDS),5)' -only '$(ONLY)' -base '$(BASE)' -json '$(JSON)'

proto: ; api/generate.sh

pgo: ; tools/pgo

clean: ; rm -rf bin dist
