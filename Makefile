# `make demo` and `make test` work on a machine with nothing but Python 3.11 or later: each makes what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests of one file share servers, so they stay in one process.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
UV := $(BIN)/uv

.PHONY: demo test coverage fuzz lint docs check wheel-test lowest-test newer-test bench bench-telemetry bench-litellm bench-memory load soak chaos fairness browser interop detection payouts reference clean

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

# The pages that come from the code, and the site, which is build/site/index.html.
docs: $(VENV)/dev
	for page in docs/site/*_page.py; do $(BIN)/python $$page || exit 1; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/site/mkdocs.yml

# Everything that CI runs.
check: lint wheel-test lowest-test newer-test

# The suite once, on the wheel: in an environment of its own and outside the checkout. What the wheel lacks, this
# finds. Has a user's type checker read the types too.
wheel-test: $(VENV)/dev
	$(call environment,wheel,$(PYTHON),--group dev)
	cd build/wheel && venv/bin/mypy --strict --config-file= tests/typing/api.py
	cd build/wheel && venv/bin/python -m pytest $(PARALLEL) -p no:cacheprovider

# The suite with its coverage, which takes a third longer.
coverage: $(VENV)/dev
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=term

# The oldest of each dependency that pyproject.toml allows, which may use what newer ones of others deprecate. Without
# the SDKs: they want a newer pydantic.
lowest-test: $(VENV)/dev
	mkdir -p build
	$(UV) pip compile --quiet --no-deps --resolution lowest-direct --python-version 3.11 --all-extras \
		pyproject.toml --output-file build/lowest.txt
	$(call environment,lowest,$(PYTHON),--constraint build/lowest.txt --group test)
	cd build/lowest && venv/bin/python -m pytest $(PARALLEL) -p no:cacheprovider -W default::DeprecationWarning $(SMOKE)

# A newer Python, where there is one.
newer-test: $(VENV)/dev
	@if python=$$(.ci/newer-python) && [ -n "$$python" ]; then $(MAKE) newer-test-on NEWER="$$python"; \
	else echo "NOT TESTED on a newer Python: this machine has neither 3.12 nor 3.13."; fi

.PHONY: newer-test-on
newer-test-on:
	$(call environment,newer,$(NEWER),--group test)
	cd build/newer && venv/bin/python --version && venv/bin/python -m pytest $(PARALLEL) -p no:cacheprovider $(SMOKE)

# Each dependency and each door once: settings, identity, the store, detection, the middleware, the proxy, the verbs.
SMOKE := $(addprefix tests/,test_app.py test_config.py test_detection.py test_docs.py test_estimate.py test_identify.py \
	test_imports.py test_metrics.py test_middleware.py test_packaging.py test_serve.py test_service.py \
	children/test_shared.py analyst/test_wire.py test_reading.py detection/test_embedding.py cli/test_cli.py text/test_fold.py \
	text/test_fingerprint.py dialects/test_ratelimit.py store/test_connection.py store/test_embedded.py store/test_redis.py)

# $(call environment,NAME,PYTHON,WHAT): build/NAME with the wheel and WHAT installed, and the project without `guard`.
define environment
	rm -rf build/$(1) build/dist
	$(UV) build --quiet --wheel --out-dir build/dist .
	$(UV) venv --quiet --python $(2) build/$(1)/venv
	$(UV) pip install --quiet --python build/$(1)/venv "$$(echo build/dist/*.whl)[all]" $(3)
	git ls-files -z --cached --others --exclude-standard | grep -zv '^guard/' | \
		xargs -0 cp --parents --target-directory build/$(1)
endef

# What guard costs: beside other limiters and a plain proxy, in Redis, and in memory; 15 minutes. Writes the figures of
# docs/performance.md. BENCH="peers --rounds 4 --dry" runs a part of it, and writes nothing.
bench: $(VENV)/bench
	$(BIN)/python -m benchmarks.speed $(BENCH)

# What telemetry takes of the time of requests: two minutes.
bench-telemetry: $(VENV)/dev
	$(BIN)/python -m benchmarks.telemetry $(BENCH)

# `guard serve` beside LiteLLM.
bench-litellm: $(VENV)/bench build/interop/ready
	$(BIN)/python -m benchmarks.speed litellm $(BENCH)

# The memory of an identity in Redis, at 100,000 of them; 15 minutes.
bench-memory: $(VENV)/bench
	$(BIN)/python -m benchmarks.speed memory $(BENCH)

# What Redis needs for 1,000,000 identities, 10,000 wordings and 10 million ids of answers, what an admit costs there, and
# how much a worker keeps up with; half an hour, and 6 GB of memory. LOAD="--identities 10000" is for a look.
load: $(VENV)/bench
	$(BIN)/python -m benchmarks.sizing $(LOAD)

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
interop: $(VENV)/dev build/interop/ready build/interop-llama-index/ready interop/node_modules/ready
	$(BIN)/python -m pytest interop

# The dashboard in Chromium: axe finds nothing against a page, and other sites get nothing. `make pictures` takes those
# of docs/dashboard.
browser: $(VENV)/browser browser/node_modules/ready
	$(BIN)/python -m pytest browser $(BROWSER)

.PHONY: pictures
pictures:
	$(MAKE) browser BROWSER=--pictures

# What guard leaves to who copies a model, and what it costs everybody else: an hour, and a folder of prompts, which
# DETECTION_DATA names. DETECTION="--quick" is for a look: two minutes.
detection: $(VENV)/bench
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection.evaluate $(DETECTION)

# What answers pay out of a diversity budget, plain and disguised, from the same folder: a minute.
payouts: $(VENV)/dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection.payouts

# The reference that guard ships, from the same folder: 10 minutes.
reference: $(VENV)/dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection.reference --out guard/detection/reference.json

clean:
	rm -rf $(VENV) build dist .guard browser/node_modules interop/node_modules

# What `make interop` needs beside guard: two programs of the system, and three sets of packages.
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
	build/interop/bin/pip install --quiet --requirement $<
	touch $@

build/interop-llama-index/ready: interop/requirements-llama-index.txt
	$(PYTHON) -m venv build/interop-llama-index
	build/interop-llama-index/bin/pip install --quiet --requirement $<
	touch $@

# What `make browser` needs beside guard: a browser with its driver, and axe.
.PHONY: browser-programs
browser-programs:
	@if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null || ! command -v npm >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver npm; \
		else \
			echo "make browser needs Chromium with its driver, and npm: apt-get install chromium chromium-driver npm"; \
			exit 1; \
		fi; \
	fi

browser/node_modules/ready: browser/package-lock.json | browser-programs
	cd browser && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

interop/node_modules/ready: interop/package-lock.json | interop-programs
	cd interop && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/run: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[all]"
	touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[all]" --group dev
	touch $@ $(VENV)/run

$(VENV)/browser: pyproject.toml | $(VENV)/dev
	$(BIN)/pip install --quiet --editable ".[all]" --group browser
	touch $@

$(VENV)/bench: pyproject.toml | $(VENV)/dev
	$(BIN)/pip install --quiet --editable ".[all]" --group bench
	touch $@
