# `make demo` and `make test` work on a machine with nothing but Python 3.11 or later: each makes what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests of one file share servers, so they stay in one process.
PARALLEL := -n auto --dist loadfile

.PHONY: demo test fuzz lint docs check wheel-test bench soak chaos fairness interop detection reference clean

demo: $(VENV)/run
	$(BIN)/guard demo

test: $(VENV)/dev
	$(BIN)/pytest $(PARALLEL)

# The same with many more random cases: about half an hour.
fuzz: $(VENV)/dev
	$(BIN)/pytest $(PARALLEL) --hypothesis-profile=large --model-examples=400

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint examples/deploy/Dockerfile

# docs/api.md, from the code.
docs: $(VENV)/dev
	$(BIN)/python docs/generate_api.py

# Everything that CI runs.
check: lint test wheel-test

# The wheel, in an environment of its own and outside the checkout: what it lacks, this finds.
wheel-test: $(VENV)/dev
	rm -rf build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel --quiet .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --upgrade pip
	build/wheel/venv/bin/pip install --quiet --group dev "$$(echo build/wheel/*.whl)[serve,embedded]"
	cp -r tests benchmarks examples docs README.md pyproject.toml build/wheel
	cd build/wheel && venv/bin/python -m pytest $(PARALLEL) -p no:cacheprovider

# What guard costs: beside its peers in one process, then through `guard serve`. Both paired and interleaved.
bench: $(VENV)/dev
	$(BIN)/python benchmarks/compare.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/fingerprint.py

# A hundred thousand queries of one identity; prints what they leave in Redis.
soak: $(VENV)/dev
	$(BIN)/pytest tests/test_bounded.py --soak -s

# 500 requests a second while the store is killed, paused, emptied and failed over; prints what it measured.
chaos: $(VENV)/dev
	$(BIN)/pytest tests/test_chaos.py --chaos -s

# What other callers notice while one sends what costs a server much; fails where it is too much. 5 minutes.
fairness: $(VENV)/dev
	$(BIN)/python -m benchmarks.fairness

# Real servers and official clients around guard: nginx, Express, LiteLLM, FastAPI; SDKs in Python and in Node.
interop: $(VENV)/dev build/interop/ready interop/node_modules/ready
	$(BIN)/python -m pytest interop

# How well distillers are told from honest holders: 40 minutes, and a folder of prompts, which DETECTION_DATA names.
detection: $(VENV)/dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection.judge --json docs/detection-results.json

# The reference that guard ships, from the same folder: 10 minutes.
reference: $(VENV)/dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection.reference --out guard/analysis/reference.json

clean:
	rm -rf $(VENV) build dist .guard interop/node_modules

# What `make interop` needs beside guard: two programs of the system, and two sets of packages.
.PHONY: interop-programs
interop-programs:
	@if ! command -v nginx >/dev/null || ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -qq -y --no-install-recommends nginx-light nodejs npm; \
		else \
			echo "make interop needs nginx, node 20 or later and npm: apt-get install nginx-light nodejs npm"; exit 1; \
		fi; \
	fi

build/interop/ready: interop/requirements.txt
	$(PYTHON) -m venv build/interop
	build/interop/bin/pip install --quiet --requirement interop/requirements.txt
	touch $@

interop/node_modules/ready: interop/package-lock.json | interop-programs
	cd interop && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/run: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[serve,embedded]"
	touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[serve,embedded]" --group dev
	touch $@ $(VENV)/run
