# Everything a user or a contributor runs. All of it works on a bare machine: Python 3.11+, make and the package registries.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo up test lint walk bench soak lock clean

demo: .venv/installed  ## start a whole city, run its main job, print what happened, stop
	$(BIN)/meterhall demo

up: .venv/installed  ## start a whole city and keep it running
	$(BIN)/meterhall up

# A test that measures time has the machine to itself. The others run in two processes, each with a PostgreSQL and a Kafka.
test: .venv/installed  ## the whole suite against the real PostgreSQL and the real Kafka
	$(BIN)/pytest -m alone
	$(BIN)/pytest -m "not alone" --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

walk: .venv/installed  ## the files and functions that one payment passes, in order
	$(BIN)/python -m sandbox.walk

bench: .venv/installed  ## the figures that README quotes; JSON under benchmarks/results/
	$(BIN)/python -m benchmarks

soak: .venv/installed  ## half of that load for 30 minutes on 20 million transfers: 45 minutes and 60 GB of disk in all
	$(BIN)/python -m benchmarks.soak

lock: .venv/installed  ## requirements.in -> requirements.lock, with hashes and without addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate requirements.in -o requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@echo "Installing Meterhall into .venv (about a minute the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:  ## forget the installation and the sandbox's state
	rm -rf .venv .meterhall
