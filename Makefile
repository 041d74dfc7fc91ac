# Tailor's front door. `make help` lists what there is.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)",/\1/p' pyproject.toml)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location
SOURCES := app worker tests migrations scripts benchmarks

.DEFAULT_GOAL := help
.PHONY: help run install test test-slow test-nightly test-gpu check format lock bench-training screenshots settings-docs methods-docs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(VENV)/worker.stamp ## Install what is missing and start all of Tailor on this machine
	@$(BIN)/tailor up

install: $(VENV)/worker.stamp ## Install what running Tailor needs, without starting it

test: $(VENV)/dev.stamp ## Install what the tests need and run all but the slow ones, in a browser too
	@scripts/test.sh -m "not slow and not gpu"

test-slow: $(VENV)/dev.stamp ## Run the slow tests: many kills, large files, clean installs (.ci/run runs both)
	@scripts/test.sh -m "slow and not gpu"

test-nightly: $(VENV)/dev.stamp ## Kill a hundred times at random, every method on both brokers (about an hour)
	@TAILOR_TEST_KILLS=$${TAILOR_TEST_KILLS:-100} scripts/test.sh tests/worker/test_random_kills.py

test-gpu: $(VENV)/dev.stamp ## Run the tests that need a graphics card, on a machine that has one
	@TAILOR_TEST_PROCESSES=0 scripts/test.sh -m gpu

check: $(VENV)/dev.stamp ## Lint, format, types, import contracts, templates, compose file
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/djlint templates --lint --quiet
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(VENV)/dev.stamp ## Bring the code into its form
	@$(BIN)/ruff check --fix --quiet $(SOURCES); $(BIN)/ruff format --quiet $(SOURCES)

lock: $(VENV)/dev.stamp ## Pin every dependency anew
	@$(PIP) uv && $(BIN)/python scripts/lock.py

bench-training: $(VENV)/dev.stamp .venv-bench/trl.stamp .venv-bench/llama-factory.stamp ## Compare the speed of training with other programs
	@$(BIN)/python benchmarks/training/run.py $(ARGUMENTS)

# Without their own dependencies: LLaMA-Factory asks for pictures, sounds and a page, and by that for
# another torch; what it needs of them stands in its file.
.venv-bench/%.stamp: requirements/bench-%.txt
	@test -x .venv-bench/$*/bin/python || $(PYTHON) -m venv .venv-bench/$*
	@.venv-bench/$*/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@grep -v '^llamafactory' $< | .venv-bench/$*/bin/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@if grep -q '^llamafactory' $<; then .venv-bench/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $$(grep '^llamafactory' $<); fi
	@touch $@

screenshots: $(VENV)/dev.stamp ## Take the README's pictures again from a really running Tailor
	@$(BIN)/python scripts/screenshots.py

methods-docs: $(VENV)/worker.stamp ## Write docs/methods.md from the code
	@$(BIN)/tailor methods --markdown > docs/methods.md

settings-docs: $(VENV)/worker.stamp ## Write docs/settings.md from the code
	@$(BIN)/tailor settings --markdown > docs/settings.md

clean: ## Remove the environment (never your data)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Tailor needs Python 3.11 or newer; none was found. Install it, or say: make PYTHON=/path/to/python3.11 run"; exit 1; }
	@echo "Making the environment in $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "The environment could not be made. On Debian and Ubuntu first: apt install python3-venv"; exit 1; }

# Each group installs a lock with hashes, then torch by its pin (see scripts/lock.py for why).
$(VENV)/%.stamp: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Tailor needs (the first time this takes some minutes) …"
	@$(PIP) --require-hashes --no-deps -r requirements/$*.txt
	@$(PIP) "$(TORCH)"
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
	@if [ "$*" = dev ]; then touch $(VENV)/worker.stamp; fi
