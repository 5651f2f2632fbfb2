# Each target does its own set-up: a fresh clone needs Python 3.11 or newer, make and git.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-js check check-js bench address recover clean

run: .venv/run  ## Start the server; prints the address to open.
	$(BIN)/gunicorn wsgi:app

test: .venv/dev browser  ## Run every test, two files at a time: they mostly wait. PYTEST_ARGS are passed on.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: .venv/dev  ## Lint and type checks.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-js: node_modules/.ready  ## Types of the pages' modules (needs Node).
	npx --no-install tsc -p .

bench: .venv/dev .venv/peers/installed  ## Measure; prints figures beside their limits.
	$(BIN)/python -m benchmarks

address: .venv/run  ## Print a new one-time login address for the server that runs.
	@$(BIN)/python -m web.address

recover: .venv/run  ## Set a damaged database aside; deletes nothing.
	@$(BIN)/python -m jobs.recovery

clean:  ## Remove what the targets above made; not the data folder.
	rm -rf .venv node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: browser
browser:
	@sh tests/browser/ensure_chromium.sh

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headway needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv/peers/installed: .venv/bin/python benchmarks/requirements.txt
	$(BIN)/python -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

node_modules/.ready: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@
