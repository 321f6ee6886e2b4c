# Two commands for a fresh clone: `make run` and `make test`. Both need python3 (>= 3.11, with venv) and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EDITOR := service/web/editor
PAGE   := service/web/static/editor.js
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: run test lint unit clients test-container serve page bench bench-runner soak fuzz soundness lock clean

run: $(VENV)/.run
	$(BIN)/gauntlet run $(ARGS)

serve: $(VENV)/.run
	$(BIN)/gauntlet-service $(ARGS)

# What the tests need is made while the sources are checked.
test: $(VENV)/.dev $(VENV)/.page
	$(MAKE) --jobs 3 lint page clients
	$(MAKE) unit

page: $(PAGE)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev page
	$(BIN)/python -m pytest --ignore tests/container --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

clients: $(VENV)/.dev
	$(BIN)/python -m tests.conformance.clients

# Deadlines are kept to half a second where submitted code has the machine to itself.
test-container: $(VENV)/.dev
	$(BIN)/python -m pytest tests/container/test_abuse.py
	$(BIN)/python -m pytest tests/container --ignore tests/container/test_abuse.py \
	  --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

bench-runner: $(VENV)/.run
	$(BIN)/python -m benchmarks.runner $(ARGS)

soak: $(VENV)/.run
	$(BIN)/python -m benchmarks.soak $(ARGS)

soundness: $(VENV)/.dev
	$(BIN)/python -m tests.soundness $(ARGS)

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(PIP) --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.run
	$(PIP) --require-hashes -r requirements/bench.txt
	touch $@

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.run
	$(PIP) --require-hashes -r requirements/fuzz.txt
	touch $@

$(VENV)/.page: requirements/page.txt | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements/page.txt
	touch $@

$(EDITOR)/node_modules: $(EDITOR)/package-lock.json $(VENV)/.page
	cd $(EDITOR) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

$(PAGE): $(EDITOR)/node_modules $(EDITOR)/editor.js $(EDITOR)/build.js
	cd $(EDITOR) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent build

# Pins for every supported Python at once; made without naming an index.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group build -o requirements/run.txt pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group build --group test -c requirements/run.txt -o requirements/dev.txt pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group build --group bench -c requirements/dev.txt -o requirements/bench.txt pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group build --group service -c requirements/run.txt -o requirements/service.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group page -o requirements/page.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --group fuzz -o requirements/fuzz.txt
	for client in requirements/clients/*.in; do \
	  uv pip compile --python-version "$$(sed -n 's/^# Python //p' $$client)" --python-platform linux --generate-hashes \
	    --excludes requirements/clients/excludes.txt --no-emit-index-url --quiet -o "$${client%.in}.txt" "$$client" || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist $(EDITOR)/node_modules $(PAGE) $(PAGE:.js=.licenses.txt)
