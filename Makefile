# Every target works alone on a fresh clone: it makes .venv first, once per change of pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SAHI_STAMP := .venv/.installed-sahi

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench protos

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## a virtual environment in .venv with everything in it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sparsight needs Python 3.10 or newer; set PYTHON=/path/to/it")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[edge,openvino,cloud,train,trt-ci,dev]'
	@touch $@

demo: setup  ## two cameras through a local cloud with Ray and mTLS, into demo/
	$(BIN)/python -m tools.demo $(ARGS)

# Real clusters, links and signals under load: what fails beside the others gets one more try alone,
# in the open. What fails twice has failed.
test: setup  ## all tests
	@export OMP_NUM_THREADS=1; \
	$(BIN)/python -m pytest -q -n auto --dist loadfile --durations=5 --durations-min=5 || { \
	code=$$?; [ $$code -eq 1 ] || exit $$code; echo "the tests that failed, once more, alone:"; \
	$(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none; }

check: setup  ## format, lint, types, import rules, generated stubs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/mypy tests tools bench
	@if [ -x $(BIN)/lint-imports ]; then $(BIN)/lint-imports; \
	else echo "import rules: not checked, import-linter needs Python 3.11"; fi
	$(BIN)/python tools/protos.py --check

protos: setup  ## write the Python stubs of proto/ anew
	$(BIN)/python tools/protos.py

bench: $(SAHI_STAMP)  ## dense, patches and SAHI, then bytes against AP, into bench/results/
	$(BIN)/python -m bench.table $(ARGS)
	$(BIN)/python -m bench.rate $(RATE_ARGS)

# SAHI asks for opencv-python, which overwrites opencv-python-headless in the same folder and wants
# libGL: it comes without its dependencies, and those that it needs are named here.
$(SAHI_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'sahi==0.12.8'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'shapely>=2' tqdm
	@touch $@
