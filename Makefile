# Everything happens in .venv, inside the repository. `make` alone lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test lint format bench constraints clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# Read only where a virtual environment is made; name another with `make serve PYTHON=…`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)
ARGS ?=
ONLY ?= *

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

serve: $(VENV)/.installed ## run the service (OMNIVEC_HOST, OMNIVEC_PORT, OMNIVEC_DATA_DIR count)
	@exec $(BIN)/omnivec serve $(ARGS)

test: $(VENV)/.installed-dev ## run the tests; ARGS go to pytest: make test ARGS="-k settings"
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev ## check style, types, the import rule and the container files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/shellcheck .ci/run

format: $(VENV)/.installed-dev ## rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-dev ## measure everything, or one thing: make bench ONLY=search
	@set -e; for file in tests/bench/bench_$(ONLY).py; do \
		module=$$(basename "$$file" .py); echo "== $$module"; \
		$(BIN)/python -m "tests.bench.$$module" $(ARGS); done

constraints: ## write constraints.txt anew with the newest versions that pyproject.toml allows
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
		'$(PYTHON)' -m venv "$$fresh"; \
		"$$fresh/bin/python" -m pip install --editable '.[dev,train]'; \
		{ sed -n '/^#/p' constraints.txt; \
		  "$$fresh/bin/python" -m pip freeze --exclude-editable | LC_ALL=C sort -f; } \
		> "$$fresh/constraints.txt"; \
		cp "$$fresh/constraints.txt" constraints.txt

clean: ## remove the virtual environment, caches and builds; .data, with what you indexed, stays
	rm -rf $(VENV) .clients build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find app docs migrations models tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.created:
	@'$(PYTHON)' -c '$(SUITABLE)' 2>/dev/null || { echo >&2 \
		"Omnivec needs Python 3.11 or newer with its venv module" \
		"(Debian, Ubuntu: apt install python3-venv)." \
		"If it is not on the PATH: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a virtual environment in $(VENV) with $$('$(PYTHON)' --version)."
	@'$(PYTHON)' -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing Omnivec and what it needs into $(VENV)." \
		"The first time takes minutes: PyTorch is large."
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests and the linters need into $(VENV)."
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@
