# `make demo` and `make test` set up all that they need; `make help` lists the rest.

GO       ?= go
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null)
# Arguments of the benchmarks, for example: make bench BENCH='-only small,large -large 1'
BENCH    ?=
FUZZTIME ?= 5s
# Directories of PostgreSQL's programs, of the versions that make postgres runs on.
POSTGRES ?= $(wildcard /usr/lib/postgresql/*/bin /usr/pgsql-*/bin)
# Rounds of make chaos, and the first one's seed.
ROUNDS   ?= 50
SEED     ?= 1
# Tests of one package that run at once: more than there are processors, because most of them wait for servers and leases.
PARALLEL ?= 4

# Everything but the race detector is built without cgo, as the released binary is: one set of compiled packages in the cache.
export CGO_ENABLED = 0
export GO
# Outside a git repository, or in one that git refuses to read, the go command could not ask git either.
STAMP := -ldflags '-s -w$(if $(VERSION), -X main.version=$(VERSION))' $(if $(VERSION),,-buildvcs=false)
LINTER := $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
# The tests of Dockerfile and docker-compose.yml: a module of their own, see internal/deployment/doc.go.
DEPLOYMENT := cd internal/deployment &&

.PHONY: build demo test lint bench chaos postgres fuzz clean help

build: ## build bin/salvor (the default)
	@scripts/setup build
	$(GO) build -trimpath $(STAMP) -o bin/salvor ./cmd/salvor

demo: build ## build, then dump, damage, restore and prove a small photo site
	bin/salvor demo

test: ## install what the tests need, then run all of them under the race detector
	@scripts/setup test
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 12m -parallel $(PARALLEL) ./...
	$(DEPLOYMENT) $(GO) test ./...
	$(GO) test -vet=off -timeout 5m -run '^TestMedia$$' ./cmd/salvor # the race detector has it take fewer objects

lint: ## check the code, the modules and the scripts
	@scripts/setup build
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(DEPLOYMENT) $(GO) vet ./... && $(GO) mod tidy -diff
	$(LINTER) config verify
	$(LINTER) run ./...
	$(DEPLOYMENT) $(LINTER) run ./...
	scripts/check

bench: ## print the figures that the product promises (BENCH='-help' lists the arguments)
	@scripts/setup build
	$(GO) run ./internal/bench $(BENCH)

chaos: ## kill dumps, restores and resumes at random moments (ROUNDS=50 SEED=1)
	@scripts/setup build
	SALVOR_CHAOS_ROUNDS=$(ROUNDS) SALVOR_CHAOS_SEED=$(SEED) $(GO) test -count=1 -timeout 2h -v ./internal/chaos

postgres: ## test the driver postgres on every version installed (POSTGRES='/usr/lib/postgresql/13/bin /usr/lib/postgresql/17/bin')
	@scripts/setup build
	@for dir in $(POSTGRES); do \
		echo "$$dir"; SALVOR_TEST_POSTGRES=$$dir SALVOR_POSTGRES_BIN=$$dir $(GO) test -count=1 -parallel $(PARALLEL) ./drivers/postgres || exit; done

fuzz: ## run every fuzz target for a moment (FUZZTIME=5s)
	@scripts/setup build
	scripts/fuzz $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin .cache

help: ## print this
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target does; do printf '%-8s %s\n' "$$target" "$$does"; done
