# Everything a developer does. `make help` lists the targets.
# PYTHON names the Python to make .venv with; the default is the newest that is new enough.
.POSIX:

BIN = .venv/bin
SOURCES = app.py wsgi.py gunicorn.conf.py tokenhub blueprints migrations bench tests

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 12

setup: ## Make .venv from hashed pins (run and test do it themselves)
	@PYTHON="$(PYTHON)" scripts/setup requirements.txt .venv/.stamp-run

setup-dev: ## The same with the tools that tests need
	@PYTHON="$(PYTHON)" scripts/setup requirements-dev.txt .venv/.stamp-dev
	@PYTHON="$(PYTHON)" scripts/setup requirements-openai-2.txt .venv/.stamp-openai-2 .venv/openai-2

run: setup ## Serve on TOKENHUB_LISTEN_ADDR (default :8080), files in .data, settings from .env
	@exec scripts/run

test: lint typecheck ## Run every check and every test
	$(BIN)/pytest -q

lint: setup-dev ## Style, layers and templates
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/djlint --check --lint templates

typecheck: setup-dev ## Types
	$(BIN)/mypy

e2e: setup-dev ## Only the tests that start a real server
	$(BIN)/pytest -q tests/e2e

fuzz: setup-dev ## A minute of requests that no sane client sends, to a real server
	$(BIN)/python -m tests.fuzz --seconds 60

bench: setup-dev ## CPU, latency, streams against a bare pass-through, in turn (about 4 minutes)
	$(BIN)/python -m bench.run --million --soak 20000

profile: setup-dev ## Where the time of a request goes, sampled in a worker under load
	$(BIN)/python -m bench.profile

faults: setup-dev ## Start, reload, stop and death with their full figures, as a table (a quarter of an hour)
	$(BIN)/python -m tests.faults

pins: setup-dev ## Compile requirements*.in to hashed requirements*.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		requirements-openai-2.in -o requirements-openai-2.txt

prices: setup-dev ## Make the snapshot of known models anew from genai-prices
	$(BIN)/python scripts/snapshot_models.py

clean: ## Delete .venv and caches; .data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup setup-dev run test lint typecheck e2e fuzz bench profile faults pins prices clean
