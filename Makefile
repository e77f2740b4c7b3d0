# make demo   the whole of MapPool on a small world, from nothing to a published folder
# make ui     Dagster's web UI: on your settings (.env) where there are any, else on the demo's
# make test   the tests, with all that they need
# make lint   style and types
# make bench  the measured claims, each against its rival; one alone: make bench CLAIM=whole_shard

PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/ready

export DAGSTER_HOME := $(CURDIR)
# A listing of 25,000 shards takes longer than the minute that Dagster gives a sensor.
export DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS := 600
# Said by Dagster at each start; `dg dev`, which it names, is another package.
export PYTHONWARNINGS := ignore:Function `dev_command`

# Your settings and their runs, or the demo's.
ifneq ($(wildcard .env),)
SETTINGS := .env
export MAPPOOL_INSTANCE := $(CURDIR)/data/instance
else
SETTINGS := data/demo/world/demo.env
export MAPPOOL_INSTANCE := $(CURDIR)/data/demo/instance
endif

.PHONY: demo ui test lint bench clean

demo: export MAPPOOL_INSTANCE := $(CURDIR)/data/demo/instance
demo: $(READY)
	@mkdir -p $(MAPPOOL_INSTANCE)
	@$(BIN)/mappool demo --folder data/demo

ui: $(READY)
	@mkdir -p $(MAPPOOL_INSTANCE)
	@echo "Dagster: http://localhost:3000"
	@set -a; if [ -f $(SETTINGS) ]; then . ./$(SETTINGS); fi; set +a; \
	    exec $(BIN)/dagster dev --log-level warning -w workspace.yaml

test: $(READY)
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# All are run; the exit status tells whether one of them stayed below its bound.
bench: $(READY)
	@status=0; for script in benchmarks/$(or $(CLAIM),*).py; do \
	    echo "== $$script"; $(BIN)/python $$script || status=1; done; exit $$status

clean:
	rm -rf .venv data/demo

# uv resolves and installs in a tenth of pip's time; pip fetches it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else \
	    f"Python 3.11 or 3.12 is needed (img2dataset does not import on 3.13); this is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraints constraints.txt --editable '.[dev]'
	@touch $@
