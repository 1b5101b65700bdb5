# `make test` gets what the tests need and runs them; see README.md.

CARGO ?= cargo

.PHONY: test check servers bench help

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

test: servers check ## Get the servers that the tests run against, check the code, run all tests
	$(CARGO) test --quiet

servers: ## Fetch Prometheus, Alertmanager, PostgreSQL and others into target/servers
	tests/servers.sh

check: ## Formatting, lints, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --quiet

bench: ## Measure; docs/benchmarks.md says what the figures mean
	$(CARGO) bench
