# What a person types. `make` lists it; each line of help stands behind its target.
# Everything works on a machine that has Rust, a C compiler, make and python3; what else is needed is installed into
# target/tools at the versions of tools/versions (cmake and cc, which the build itself needs, by apt-get on Debian).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

# Extra words for the program that is run: make run ARGS="--for 15s", make test ARGS="-p zerver-telemetry".
ARGS ?=
# make run PROFILE=quick: optimised code, for three times the first build's time (two minutes and a half on two cores).
PROFILE ?= dev
# On CI the lock file is law.
LOCKED := $(if $(CI),--locked)

# The benchmarks; PROFILE=quick builds them faster, without link-time optimisation.
BENCH_PROFILE := $(if $(filter quick,$(PROFILE)),quick,release)
BENCH = mkdir -p target/bench && ZERVER_TEST_NGINX=$$(tools/need nginx || true) \
	cargo run $(LOCKED) --profile $(BENCH_PROFILE) -p zerver-bench --

# What `make check` consists of, cheapest first; .ci/run times each.
CHECKS := fmt-check tidy typos deny clippy loom features doc

.PHONY: help run test check bench bench-telemetry bench-dead bench-flows bench-proxy bench-shed fmt clean-tools needs check-parts $(CHECKS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: needs ## build and start the demo: a gateway, scripted upstreams, load (ARGS="--for 15s"; PROFILE=quick)
	@cargo run $(LOCKED) --profile $(PROFILE) -p zerver --bin zerver -- demo $(ARGS)

test: needs ## run all tests, with the real servers they need (ARGS="-p zerver-flows" for some of them)
	@tools/test $(LOCKED) $(ARGS)

check: $(CHECKS) ## everything but the tests: the eight below

fmt-check: ## the code is formatted
	@cargo fmt --all --check

tidy: ## layers, circles, sizes, unused dependencies, links: tools/tidy
	@tools/tidy --self-test
	@tools/tidy

typos: ## spelling
	@tool=$$(tools/need typos); "$$tool"

deny: ## licences, duplicates, who may depend on what, security advisories
	@tools/deny

clippy: needs ## lints, warnings are errors
	@cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

loom: needs ## the interleavings of what several threads write
	@cargo test $(LOCKED) -p zerver-telemetry --lib --features loom --quiet loom

features: needs ## each crate builds with its optional features off, and the recorder compiled out
	@cargo check $(LOCKED) -p zerver-flows --no-default-features
	@cargo check $(LOCKED) -p zerver --no-default-features
	@cargo check $(LOCKED) -p zerver-telemetry --features unrecorded

doc: needs ## the API documentation, warnings are errors (open target/doc/zerver/index.html)
	@RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) --workspace --no-deps

bench: needs bench-unrecorded ## measure against bare pingora, nginx, OpenTelemetry and more; results in target/bench/*.json
	@$(BENCH) $(ARGS)

bench-telemetry bench-dead bench-flows bench-shed: bench-%: needs ## one of them; ARGS=--quick for a first look
	@$(BENCH) $* $(ARGS)

bench-proxy: needs bench-unrecorded ## another; it needs a second build, of a gateway without its recorder
	@$(BENCH) proxy $(ARGS)

# A build of its own name, beside the one that measures: both are made in one folder, so only our own crates are built twice.
bench-unrecorded:
	@cargo build $(LOCKED) --profile $(BENCH_PROFILE) -p zerver-bench --features unrecorded
	@cp -f target/$(BENCH_PROFILE)/zerver-bench target/$(BENCH_PROFILE)/zerver-bench-unrecorded

fmt: ## format the code
	@cargo fmt --all

clean-tools: ## remove what was installed into target/tools
	@rm -rf target/tools

# What `cargo build` itself needs.
needs:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or later, see https://rustup.rs" >&2; exit 1; }
	@tools/need cc >/dev/null
	@tools/need cmake >/dev/null

check-parts:
	@echo $(CHECKS)
