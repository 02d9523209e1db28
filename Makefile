# essad needs Go and make, nothing else. `make help` lists the targets.

GO      ?= go
VERSION ?= 0.1.0
ARCH    ?= $(shell $(GO) env GOARCH)

BIN     := bin
DIST    := dist
PLUGINS := $(BIN)/lib/essad/plugins
AGENT   := github.com/essa-project/essad/essad/internal/agent

# Programs are static (CGO_ENABLED=0): the same file runs on every Linux. They forget the paths of this machine (-trimpath),
# for what is packaged must, and to compile everything once more for that would take minutes.
GOBUILD = CGO_ENABLED=0 GOARCH=$(ARCH) $(GO) build -trimpath -ldflags='-s -w -X $(AGENT).Version=$(VERSION)'

# The race detector needs a C compiler.
CC      := $(shell $(GO) env CC)
RACE    := $(shell command -v $(CC) >/dev/null 2>&1 && echo -race)
# At its end it waits for a second for what is still running, in each process that a test starts: there are hundreds, and
# a test waits for what it has started.
TESTENV := $(if $(RACE),CGO_ENABLED=1 GORACE='atexit_sleep_ms=50 $(GORACE)',)

# Tools, pinned. `go run` builds each once and keeps it in the build cache, and go.mod stays clean.
GOLANGCI     := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT      := $(GO) run mvdan.cc/gofumpt@v0.12.0
BENCHSTAT    := $(GO) run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
# The last nfpm whose libraries the Go module proxy serves in full.
NFPM         := $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.2
BUF          := github.com/bufbuild/buf/cmd/buf@v1.75.0
PROTOC_GO    := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GRPC  := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

# Guests in Go are the folders of examples for which essagen has written wrappers.
GUEST_DIRS := $(patsubst %/,%,$(sort $(dir $(wildcard examples/*/essa_gen*_wasip1.go))))
GUESTS     := $(patsubst examples/%,$(BIN)/guests/%.wasm,$(GUEST_DIRS))
# Plugins that need nothing but Go. The two that link a C library are left out where they cannot be built.
PLUGIN_SET := $(patsubst plugins/%/,$(PLUGINS)/essad-plugin-%,$(filter-out plugins/wasmedge/ plugins/wasmtime/,$(sort $(dir $(wildcard plugins/*/*.go)))))

# The plugin wasmtime needs a C compiler; its library comes with its Go module (237 MB to download once).
WASMTIME      := $(PLUGINS)/essad-plugin-wasmtime
MACHINE       = $(or $(and $(filter amd64,$(ARCH)),x86_64),$(and $(filter arm64,$(ARCH)),aarch64),$(ARCH))
HAVE_WASMTIME = test "$$($(CC) -dumpmachine 2>/dev/null | cut -d- -f1)" = $(MACHINE)

# The plugin wasmedge needs libwasmedge 0.14 and a C compiler, and is left out where they are not: Debian trixie has both.
WASMEDGE      := $(PLUGINS)/essad-plugin-wasmedge
HAVE_WASMEDGE = printf '%s\n' '\#include <wasmedge/wasmedge.h>' '\#if WASMEDGE_VERSION_MAJOR || WASMEDGE_VERSION_MINOR != 14' \
	'\#error' '\#endif' 'int main(void) { return !WasmEdge_VersionGet(); }' | $(CC) -x c - -o /dev/null -lwasmedge 2>/dev/null

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN)/essad $(BIN)/essagen plugins $(GUESTS) ## build essad, its plugins, essagen and the example guests into bin/

.PHONY: plugins
plugins: $(PLUGIN_SET) $(WASMTIME) $(WASMEDGE) ## build the plugins; what needs a library that is not here is left out

# Go decides what is out of date, so its programs are always handed to it.
.PHONY: FORCE
FORCE:

$(BIN)/essad: FORCE
	@mkdir -p $(@D)
	$(GOBUILD) -o $@ ./essad

$(BIN)/essagen: FORCE
	@mkdir -p $(@D)
	$(GOBUILD) -o $@ ./sdk/guest/essagen

$(PLUGINS)/essad-plugin-%: FORCE
	@mkdir -p $(@D)
	$(GOBUILD) -o $@ ./plugins/$*

$(WASMTIME): FORCE
	@if $(HAVE_WASMTIME); then \
		mkdir -p $(@D) && echo "build $@ with the library of its Go module" && \
		CGO_ENABLED=1 GOARCH=$(ARCH) CC="$(CC)" $(GO) build -trimpath -ldflags='-s -w -X $(AGENT).Version=$(VERSION)' -o $@ ./plugins/wasmtime; \
	else \
		rm -f $@ && echo "the plugin wasmtime is left out: it needs a C compiler ($(CC)) for $(ARCH)"; \
	fi

$(WASMEDGE): FORCE
	@if $(HAVE_WASMEDGE); then \
		mkdir -p $(@D) && echo "build $@ with libwasmedge" && \
		CGO_ENABLED=1 $(GO) build -tags wasmedge -trimpath -ldflags='-s -w -X $(AGENT).Version=$(VERSION)' -o $@ ./plugins/wasmedge; \
	else \
		rm -f $@ && echo "the plugin wasmedge is left out: it needs a C compiler and libwasmedge-dev 0.14 (Debian trixie has it)"; \
	fi

# Go guests are reactors: a Go command aborts when one of its exports is called without _start.
$(BIN)/guests/%.wasm: FORCE
	@mkdir -p $(@D)
	CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm $(GO) build -buildmode=c-shared -ldflags='-s -w' -o $@ ./examples/$*

# What the race detector leaves out or widens, because it costs memory, stack and time: bounds of memory, compiled code,
# guests in Go, values of tens of megabytes, and system calls past the scheduler.
UNRACED    = ^(TestIdleMemory|TestIdleSessions|TestRuntime|TestGoDepth|TestLargestValue|TestReadWakesTheMonitor)$$
UNRACED_IN = ./essad/internal/kvs ./sdk/zenoh/internal/link ./sdk/zenoh/internal/interop ./plugins/wazero ./plugins/wasmtime ./sdk/engine/admit ./sdk/internal/sock
# Neither does it look at every byte of the largest messages: these tests leave them out under it, and are run once more without.
UNRACED_SIZES    = ^Test/^(PubSub|Query)$$/^Sizes$$|^(TestScenarios|TestOffers)$$/././^sizes$$
UNRACED_SIZES_IN = ./sdk/transport ./sdk/transport/zenoh ./sdk/zenoh/internal/interop

# Guests in TypeScript need node and npm, which fetch AssemblyScript as the lock file says. What they link of it is not ours, so
# these modules are built and never committed. ESSAD_GUESTS_TS tells tests in which folder they are.
TS_GUESTS := $(patsubst examples/%/index.ts,$(BIN)/guests/%.wasm,$(wildcard examples/*-ts/index.ts)) $(BIN)/guests/everytype-ts.wasm
ESSA_ASC  := sdk/ts/node_modules/.package-lock.json
NPM_CI     = timeout 300 npm ci --no-audit --no-fund

.PHONY: guests-ts
guests-ts: $(TS_GUESTS) ## build the example guests in TypeScript into bin/guests/; needs node 18 and npm

.PHONY: test-ts
test-ts: $(ESSA_ASC) ## run the tests of the TypeScript SDK; needs node 18 and npm
	cd sdk/ts && npm test

$(ESSA_ASC): sdk/ts/package.json sdk/ts/package-lock.json
	cd sdk/ts && $(NPM_CI)
	@touch $@

$(BIN)/guests/%-ts.wasm: $(ESSA_ASC) FORCE
	node sdk/ts/bin/essa-asc.mjs examples/$*-ts/index.ts -o $@

$(BIN)/guests/everytype-ts.wasm: $(ESSA_ASC) FORCE
	node sdk/ts/bin/essa-asc.mjs sdk/ts/test/everytype.ts -o $@

.PHONY: test
test: ## run all tests, with the race detector where a C compiler is there
	@$(if $(RACE),,echo "no C compiler ($(CC)): the tests run without the race detector")
	$(TESTENV) $(GO) test $(RACE) -timeout 15m $(TESTFLAGS) ./...
	$(if $(RACE),$(GO) test -timeout 5m -run '$(UNRACED)' $(UNRACED_IN))
	$(if $(RACE),$(GO) test -timeout 5m -run '$(UNRACED_SIZES)' $(UNRACED_SIZES_IN))

.PHONY: test-wasmedge
test-wasmedge: ## test the plugin wasmedge, where libwasmedge is
	$(GO) vet -tags wasmedge ./plugins/wasmedge
	$(TESTENV) CGO_ENABLED=1 $(GO) test -race -tags wasmedge -timeout 15m $(TESTFLAGS) ./plugins/wasmedge
	CGO_ENABLED=1 $(GO) test -tags wasmedge -timeout 5m -run '^(TestRuntime|TestCodeBomb)$$' ./plugins/wasmedge

.PHONY: check
check: ## check form, generated files and linters
	@test -z "$$(gofmt -l $(GOFILES))" || { echo "not formatted (make fmt):"; gofmt -l $(GOFILES); exit 1; }
	@out=$$($(GOFUMPT) -l $(GOFILES)); test -z "$$out" || { echo "not formatted (make fmt):"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./sdk/guest ./sdk/lattice ./sdk/bincode $(addprefix ./,$(GUEST_DIRS))
	GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./essad ./plugins/...
	$(GO) test ./essad
	$(GOLANGCI) run ./...
	@$(MAKE) --no-print-directory check-generated

# testdata may hold what no tool should touch, and protoc has its own form.
GOFILES = $(shell find config essad examples plugins sdk -name '*.go' -not -path '*/testdata/*' -not -name '*.pb.go')

.PHONY: check-generated
check-generated: ## check that generating again changes nothing
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a git checkout: what is generated cannot be compared"; exit 0; }; \
	before=$$(git status --porcelain; git diff | cksum); \
	$(MAKE) --no-print-directory generate >/dev/null || exit 1; \
	after=$$(git status --porcelain; git diff | cksum); \
	test "$$before" = "$$after" || { echo "generated files are not up to date: commit what make generate changes"; git status --short; exit 1; }

.PHONY: fmt
fmt: ## format the code
	$(GOFUMPT) -w $(GOFILES)

.PHONY: bench
bench: build ## measure, each figure beside its floor; writes bin/bench.json
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 200ms $(BENCHFLAGS) ./config ./sdk/... ./essad/internal/... | tee $(BIN)/bench.txt
	$(GO) run ./essad/internal/bench -bin $(BIN)

.PHONY: bench-compare
bench-compare: ## compare two outputs of make bench: OLD=a.txt NEW=b.txt
	$(BENCHSTAT) $(OLD) $(NEW)

.PHONY: demo
demo: $(BIN)/essad $(PLUGIN_SET) $(BIN)/guests/hello.wasm $(BIN)/guests/test-function.wasm ## run functions that call each other and keep state through a kill -9
	CGO_ENABLED=0 $(GO) run -trimpath ./examples/demo -bin $(BIN)

.PHONY: generate
generate: ## regenerate protobuf code and guest wrappers
	@mkdir -p $(BIN)/tools
	GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install $(BUF)
	GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install $(PROTOC_GO)
	GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install $(PROTOC_GRPC)
	cd sdk/proto && PATH="$(CURDIR)/$(BIN)/tools:$$PATH" $(CURDIR)/$(BIN)/tools/buf generate
	$(GO) generate ./...

# The manual is what --help and the configuration's schema say. It is made by a program for this machine, whatever ARCH is.
.PHONY: man
man: ## write the manual's pages into bin/man/
	@rm -rf $(BIN)/man
	CGO_ENABLED=0 $(GO) run -trimpath -ldflags='-s -w -X $(AGENT).Version=$(VERSION)' ./essad man $(BIN)/man
	@gzip -9n $(BIN)/man/*/*

.PHONY: package
package: $(BIN)/essad $(BIN)/essagen $(PLUGIN_SET) man ## build the .deb and the .rpm into dist/
	@mkdir -p $(DIST)
	@rm -f $(WASMEDGE) $(WASMTIME) # they have packages of their own
	VERSION=$(VERSION) ARCH=$(ARCH) $(NFPM) package --config packaging/nfpm.yaml --packager deb --target $(DIST)/
	VERSION=$(VERSION) ARCH=$(ARCH) $(NFPM) package --config packaging/nfpm.yaml --packager rpm --target $(DIST)/
	@$(MAKE) --no-print-directory package-wasmtime
	@ls -l $(DIST)

# Which C library it needs is what the linker has recorded.
.PHONY: package-wasmtime
package-wasmtime: $(WASMTIME) ## build the .deb and the .rpm of the plugin wasmtime into dist/, where a C compiler is
	@mkdir -p $(DIST)
	@test ! -e $(WASMTIME) || for packager in deb rpm; do \
		PLUGIN=$(WASMTIME) VERSION=$(VERSION) ARCH=$(ARCH) \
		GLIBC=$$(objdump -T $(WASMTIME) | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 | cut -d_ -f2) \
		$(NFPM) package --config packaging/nfpm-wasmtime.yaml --packager $$packager --target $(DIST)/ || exit 1; \
	done

.PHONY: package-wasmedge
package-wasmedge: $(WASMEDGE) ## build the .deb of the plugin wasmedge into dist/, where libwasmedge is
	@mkdir -p $(DIST)
	@test -e $(WASMEDGE)
	PLUGIN=$(WASMEDGE) VERSION=$(VERSION) ARCH=$(ARCH) $(NFPM) package --config packaging/nfpm-wasmedge.yaml --packager deb --target $(DIST)/
	@ls -l $(DIST)

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf $(BIN) $(DIST) sdk/ts/node_modules
