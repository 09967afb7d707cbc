# Everything is started from here; `make help` lists it. Settings are variables:
# make run PARLEY_LISTEN=127.0.0.1:9000 hands them on to the program.

SHELL := /bin/bash

# One module at a time: with the workspace an import between services would compile.
export GOWORK := off
# The version is given below, and a clone that git does not trust must build, too.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false
# Debian keeps brokers where a user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# What is generated into docs/ is no part of any program.
VERSION ?= $(shell v=$$(git describe --tags --always 2>/dev/null) || { echo unversioned; exit; }; git diff --quiet HEAD -- . ':!docs' || v=$$v-dirty; echo $$v)
LDFLAGS := -X github.com/parley-chat/parley/shared/process.buildVersion=$(VERSION)
BIN := $(CURDIR)/bin
MODULES := shared services/ingress services/ingress/protocol services/chat services/notifier deploy deploy/manifests

FUZZTIME ?= 10s
BENCH ?= .
BENCHTIME ?= 1s
SUITES ?=
BROKER ?=
SEED ?= 1
ONLY ?=
SCENARIO ?= C
LOAD ?=
QUICK ?=
SEEDS ?= 1,2,3
BUS ?= redis
FOR ?= 20m
CLIENTS ?= 2000
RATE ?= 600
STORM ?= 10000
BASE ?=
WITH ?=
SERVICE ?= ingress
N ?= 2

export IMAGES ?= parley
# Of the suite e2e: redis, nats or redis-cluster.
export BROKER
# The override files of deploy/ that WITH names.
COMPOSE = $$(scripts/compose) -f deploy/compose.yaml $(foreach name,$(WITH),-f deploy/compose.$(name).yaml)

.DEFAULT_GOAL := help
.PHONY: help run run-redis build test test-short check fuzz load bench bench-compare bench-growth bench-overload chaos campaign soak mutants pictures \
	images secrets up down logs scale upgrade clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the whole in one process, nothing else needed: http://127.0.0.1:8080
	@cd deploy && go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/standalone
	@exec $(BIN)/standalone

run-redis: ## the three services as processes of their own, with a Redis
	@scripts/need redis-server
	@$(MAKE) --no-print-directory build
	@exec $(BIN)/cluster -bin $(BIN)

build: ## every program, to bin/
	@mkdir -p $(BIN)
	@for module in $(MODULES); do \
	  ( cd $$module && mains=$$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./...) || exit 1; \
	    [ -z "$$mains" ] || go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $$mains ) || exit 1; \
	done
	@ls $(BIN)

test: ## all suites, each with its time; some: make test SUITES="units bus"; e2e on one broker: SUITES=e2e BROKER=nats
	@scripts/need
	@scripts/test $(SUITES)

test-short: ## units only, without what takes long
	@scripts/need cc redis-server nats-server node
	@scripts/test --short units

check: ## format, vet, staticcheck, import table, tidy modules
	@scripts/check

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@scripts/fuzz $(FUZZTIME)

load: ## one scenario of docs/performance.md, fresh two edges: SCENARIO=B LOAD="-rate 200 -html load.html"; QUICK=1
	@scripts/need redis-server
	@$(MAKE) --no-print-directory build >/dev/null
	@$(BIN)/loadgen -bin $(BIN) $(if $(QUICK),-quick) -scenario $(SCENARIO) $(LOAD)

bench: ## every benchmark of every package; BENCH=pattern BENCHTIME=1s
	@status=0; for module in $(MODULES); do \
	  ( cd $$module && go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./... | grep -v 'no test files' ) || status=1; \
	done; exit $$status

bench-compare: ## Parley and the hand-written baseline in turn; writes docs/performance.md (40 min); QUICK=1: 8 min
	@scripts/need redis-server
	@$(MAKE) --no-print-directory build >/dev/null
	@$(BIN)/loadgen compare -version $(VERSION) -bin $(BIN) $(if $(QUICK),-quick) -page docs/performance.md

bench-growth: ## how cost grows with members, rooms, connections, edges, partitions, bodies; into the same page (20 min); QUICK=1: 6 min
	@scripts/need redis-server
	@$(MAKE) --no-print-directory build >/dev/null
	@$(BIN)/loadgen growth -version $(VERSION) -bin $(BIN) $(if $(QUICK),-quick) -page docs/performance.md -picture docs/pictures/growth.svg

bench-overload: ## two and three times what it can serve: does it bend? into the same page (5 min); QUICK=1: 3 min
	@scripts/need redis-server
	@$(MAKE) --no-print-directory build >/dev/null
	@$(BIN)/loadgen overload -version $(VERSION) -bin $(BIN) $(if $(QUICK),-quick) -page docs/performance.md

chaos: ## break everything once under load and check what is promised; SEED=n ONLY=F6 replays, BUS=nats
	@scripts/need redis-server $(filter-out redis,$(BUS:nats=nats-server))
	@cd deploy && SEED=$(SEED) ONLY=$(ONLY) BUS=$(BUS) go test -race -count=1 -timeout 30m -v -run TestChaos ./chaos

# Results are kept by seed in bin/campaign: runs of commits with the same services make one page.
campaign: ## the same at full scale with three seeds, FOR=20m each, then the storm; writes docs/reliability.md
	@scripts/need redis-server
	@cd deploy && go run ./cmd/chaos -race=false -full -clients $(CLIENTS) -rate $(RATE) -for $(FOR) -seeds $(SEEDS) -storm $(STORM) $(if $(ROOMS),-rooms $(ROOMS)) \
	  $(if $(filter nats,$(BUS)),-nats) -results $(BIN)/campaign -report ../docs/reliability.md \
	  -command 'make campaign SEEDS=$(SEEDS) FOR=$(FOR) CLIENTS=$(CLIENTS) RATE=$(RATE)$(if $(ROOMS), ROOMS=$(ROOMS))$(if $(filter nats,$(BUS)), BUS=nats)'

soak: ## the same for two hours with one seed
	@scripts/need redis-server
	@cd deploy && go run ./cmd/chaos -race=false -full -clients $(CLIENTS) -rate $(RATE) -for 2h -seeds $(SEED)

mutants: ## break the product on purpose, patch by patch: is each caught?
	@scripts/need redis-server
	@cd deploy && go run ./cmd/chaos -mutants chaos/mutants -clients 150 -rate 250

pictures: ## the pictures in docs/pictures, taken by Chromium of page and board as they are
	@scripts/need chromium
	@cd deploy && go test -count=1 ./browser -timeout 10m -run Pictures -pictures ../../docs/pictures
	@ls docs/pictures

images: ## images of the services, $(IMAGES)/<service>:dev; BASE=local: from binaries compiled here, nothing is pulled
	@scripts/images $(VERSION) $(BASE)

secrets: ## secrets, certificates and Redis users for WITH=secure, in deploy/.secrets
	@cd deploy && go run ./cmd/secure -dir .secrets

up: ## the whole in containers: make up WITH="nats haproxy"; overrides: nats, redis-cluster, haproxy, secure
	@docker image inspect $(IMAGES)/ingress:dev >/dev/null 2>&1 || $(MAKE) --no-print-directory images
	@$(COMPOSE) up -d --wait --remove-orphans
	@$(if $(filter secure,$(WITH)),echo 'Parley is at https://127.0.0.1:$(or $(PARLEY_PORT),8443); users show tokens signed with deploy/.secrets/jwt.secret.',\
	  echo 'Parley is at http://127.0.0.1:$(or $(PARLEY_PORT),8080), in dev auth: everybody may be anybody, so it listens on loopback only.')

down: ## end it; what is stored stays. The same WITH as for up
	@$(COMPOSE) down --remove-orphans

logs: ## follow the logs of all containers, or of SERVICE=chat
	@$(COMPOSE) logs --follow --tail 100 $(if $(filter command line,$(origin SERVICE)),$(SERVICE))

scale: ## make scale SERVICE=ingress N=4; nginx finds the new ones by itself
	@$(COMPOSE) up -d --wait --no-recreate --scale $(SERVICE)=$(N) $(SERVICE)

upgrade: ## make upgrade SERVICE=chat N=2: N of the images' version of now beside the N that run, which then end
	@$(COMPOSE) up -d --wait --no-deps --no-recreate --scale $(SERVICE)=$$((2 * $(N))) $(SERVICE)
	@$(COMPOSE) up -d --wait --no-deps --scale $(SERVICE)=$(N) $(SERVICE)

clean: ## remove bin/
	rm -rf $(BIN)
