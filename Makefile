# make run    installs the service and starts it on http://127.0.0.1:8000
# make test   installs everything, checks the code and runs the tests
# Needs only Python 3.11 or newer with its venv module. See CONTRIBUTING.md.

VENV ?= .venv
# Number of test files that run in parallel. Many tests wait for processes, so three keep two cores busy.
JOBS ?= 3
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

# The name of a stamp has a checksum of the files that name the packages: a second `make` installs nothing.
stamp = $(VENV)/.$(1)-$(shell cat $(2) pyproject.toml | cksum | cut -d ' ' -f 1)
RUNTIME := $(call stamp,runtime,requirements.lock)
DEV := $(call stamp,dev,requirements-dev.lock)
BENCH := $(call stamp,bench,requirements-bench.lock)

# Tests start hundreds of processes: each one would compile the same modules again.
test coverage: export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test coverage lint format docs bench clients lock clean

run: $(RUNTIME)
	@grep -qs '^ASR_MODEL=' .env || export ASR_MODEL="$${ASR_MODEL:-base}"; \
	grep -qs '^ASR_STATE_DIR=' .env || export ASR_STATE_DIR="$${ASR_STATE_DIR:-.state}"; exec $(BIN)/asr-service serve

test: $(DEV)
	@# While the code is checked, one process compiles all tests. Otherwise each of those that run them would.
	$(BIN)/python -m pytest --collect-only -qq >/dev/null & $(MAKE) --no-print-directory lint && wait
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

coverage: $(DEV)
	$(BIN)/coverage erase
	@# The report is made after a failure too; the exit code is the first that is not zero.
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile $(ARGS); tests=$$?; \
	$(BIN)/coverage combine --quiet; $(BIN)/coverage report; report=$$?; \
	exit $$((tests ? tests : report))

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Writes docs/cli.md, docs/settings.md and .env.example from the code.
docs: $(DEV)
	$(BIN)/python -m scripts.generate_docs

# Compare the service with faster-whisper behind FastAPI: ten minutes on two cores. See benchmarks/README.md.
# make bench BENCH_AUDIO=folder-with-a-manifest ARGS=--smoke
bench: $(BENCH)
	$(BIN)/python -m benchmarks.load $(ARGS)

# Real client programs for `pytest -m clients`: half a gigabyte. The default tests replay what they sent.
clients:
	python3.12 -m venv .clients
	.clients/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-clients.lock
	npm --prefix tests/api/openai/clients/node ci --no-audit --no-fund

# Needs uv (https://docs.astral.sh/uv/). Versions stay as they are unless `make lock UPGRADE=--upgrade`.
PACKAGES := pyproject.toml --extra base-model --extra otel --extra cluster --group build
LOCK := uv pip compile $(PACKAGES) --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet \
	--custom-compile-command "make lock" $(UPGRADE)
lock:
	$(LOCK) --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group dev --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(subst $(PACKAGES),--group clients,$(LOCK:3.11=3.12)) \
		--output-file requirements-clients.lock
	$(LOCK) --extra cuda --constraint requirements.lock --output-file requirements-cuda.lock

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(RUNTIME): | $(BIN)/python
	$(call install,requirements.lock)

$(DEV): | $(BIN)/python
	$(call install,requirements-dev.lock)

$(BENCH): | $(BIN)/python
	$(call install,requirements-bench.lock)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none is on the PATH: https://www.python.org" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# Python compiles a module when it is first imported. Most modules of these packages never are.
define install
	@echo "Installing the packages of $(1) into $(VENV). The first time, this takes a few minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: --require-hashes --requirement $(1)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef
