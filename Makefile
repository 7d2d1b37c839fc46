# make demo    a simulated plant with broker, store and status page on this machine
# make test    every test, against the real brokers, stores and protocol peers it installs
# make check   lint and types
# make bench   the figures of the README
# make soak    the long forms of the fault tests: some hours
# make lock    pin the dependencies anew
# make deb     a Debian package for this architecture and its Python, in dist/; make sbom: what is in it
# make wheels-arm64   whether every pinned dependency is to be had for a Raspberry Pi

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DEV := .venv/ready-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

LOCK := --quiet --universal --generate-hashes --no-header --python-version 3.11

.PHONY: demo test check bench soak lock schema broker parts deb sbom wheels-arm64

demo: $(READY) broker
	@$(BIN)/gateway demo

test: $(DEV) parts check
	$(BIN)/pytest -n 2 --dist loadfile --reruns 1 --reruns-delay 2 --rerun-except "from pytest-timeout" -rR $(ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV) parts
	@for file in tests/bench/*.py; do echo; echo "== $$file"; PYTHONPATH=tests $(BIN)/python $$file || exit 1; done

# 1,000 kills, a kill at each of 300 system calls, 200 power cuts, 72 hours of backlog, 102 cycles of OPC UA faults.
soak: $(DEV) parts
	MODEL_EXAMPLES=3000 KILLS=1000 SYSCALLS=300 CUTS=200 FAULT_CYCLES=102 $(BIN)/pytest --timeout=0 \
	  tests/buffer/test_model.py tests/fault $(ARGS)
	PYTHONPATH=tests $(BIN)/python tests/bench/outage.py --hours 72

# With every hash checked, and no index named: pip takes the one this machine is set up for.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "installing into .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q gateway adapters simulators
	@touch $@

$(DEV): $(READY) requirements-dev.lock
	@echo "installing what the tests need into .venv"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# The demo does without a broker, and says so; where one can be installed, it is.
broker:
	@command -v mosquitto >/dev/null || test -x /usr/sbin/mosquitto || \
	  { echo "installing Mosquitto"; if [ "$$(id -u)" = 0 ]; then SUDO=; else SUDO="sudo -n"; fi; \
	    { $$SUDO apt-get install -y --no-install-recommends mosquitto || \
	      { $$SUDO apt-get update && $$SUDO apt-get install -y --no-install-recommends mosquitto; }; } >/dev/null 2>&1 \
	  && { systemctl is-system-running >/dev/null 2>&1 && $$SUDO systemctl disable --now mosquitto || true; } >/dev/null 2>&1 \
	  || echo "Mosquitto could not be installed: the demo links broker and store inside one process"; }

parts:
	@bash tests/parts/setup.sh

# ARGS=--upgrade takes newer versions.
lock: $(READY)
	$(PIP) uv
	$(BIN)/uv pip compile $(LOCK) --extra all --extra build pyproject.toml -o requirements.lock $(ARGS)
	$(BIN)/uv pip compile $(LOCK) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock $(ARGS)

schema: $(READY)
	$(BIN)/gateway config schema > config/gateway.schema.json

deb: $(DEV)
	@bash deploy/debian/build.sh dist

sbom: $(DEV)
	@bash deploy/sbom.sh build/sbom.cdx.json

# As on Raspberry Pi OS 12, 64 bits: nothing is compiled there.
wheels-arm64: $(READY)
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && $(BIN)/pip download --quiet --disable-pip-version-check --require-hashes \
	  --no-deps --only-binary :all: --python-version 3.11 --implementation cp --platform manylinux2014_aarch64 \
	  --platform manylinux_2_28_aarch64 -r requirements.lock -d "$$folder" && echo "$$(ls "$$folder" | wc -l) wheels for arm64, none to be compiled"
