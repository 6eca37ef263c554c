# Each target is a thin alias; CI calls the same ones.
PYTHON ?= python3
# Bytecode is kept, whatever the environment says: tests start hundreds of processes, which would compile gradlab each.
export PYTHONDONTWRITEBYTECODE =
BIN := .venv/bin
# Most modules of the packages are never imported: pip would take a minute to compile them all.
PIP_INSTALL = -m pip install --quiet --no-compile
# What commands import, which is compiled by importing it.
IMPORTED = gradlab.cli.app, gradlab.runs.worker, gradlab.judge.check, gradlab.report.page.write, gradlab.lesson.page
STAMP := .venv/.gradlab-setup
# One process more than cores, because many tests wait for processes that they start.
PYTEST = $(BIN)/python -m pytest --dist loadfile --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))

BENCH_BIN := .venv-bench/bin
BENCH_STAMP := .venv-bench/.gradlab-setup

TORCH_STAMP := .venv-torch/.gradlab-setup

LOWEST_BIN := .venv-lowest/bin
LOWEST_STAMP := .venv-lowest/.gradlab-setup

# The newest Python of PATH, or of pyenv, that is newer than the oldest supported one; empty if there is none.
NEWER_PYTHON = $(shell for minor in 14 13 12; do for each in python3.$$minor $(HOME)/.pyenv/versions/3.$$minor.*/bin/python; \
    do "$$each" -c "" 2> /dev/null && echo "$$each" && exit; done; done)

GATE_BIN := .venv-gate/bin
GATE_STAMP := .venv-gate/.gradlab-setup
OTHER_JAXES := 0.10.0 0.9.2

.PHONY: setup demo test test-quick test-torch test-newer test-lowest torture claims-quick lint fix docs pictures bench bench-quick gate-study clean clean-results

setup: $(STAMP)

# Rebuilt only when pyproject.toml changes; pip is upgraded because groups (PEP 735) need pip 25.1.
$(STAMP): pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'gradlab needs Python 3.11 or newer: make PYTHON=python3.11 setup')"
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --upgrade pip
	$(BIN)/python $(PIP_INSTALL) --editable . --group dev
	$(BIN)/python -c "import $(IMPORTED)"
	touch $(STAMP)

demo: setup
	$(BIN)/gradlab run adding --len 200 --cell lstm
	$(BIN)/gradlab report

test: setup
	$(PYTEST)

# A minute or two: every room, without what kills, compiles many programs, starts clusters or opens a browser.
test-quick: setup
	$(PYTEST) -m "not slow and not browser"

# What needs PyTorch; a minute or two.
test-torch: $(TORCH_STAMP)
	PYTHONPATH=$(CURDIR)/.venv-torch $(PYTEST) tests/torch gradlab/torch

# Packages beside those of .venv. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu gets the PyTorch without
# CUDA where the index at hand has both.
$(TORCH_STAMP): $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --upgrade --target .venv-torch --group torch
	touch $(TORCH_STAMP)

# Installed as users do, in a newer Python, and used from another folder.
test-newer:
	@python="$(NEWER_PYTHON)"; if [ -z "$$python" ]; then echo "no newer Python than 3.11 was found: none is tested"; exit; fi; \
	set -ex; rm -rf .venv-newer; "$$python" -m venv .venv-newer; \
	.venv-newer/bin/python -m pip install --quiet --no-compile . || { echo "packages for $$python cannot be had"; exit 0; }; \
	cd .venv-newer; \
	bin/python --version; bin/gradlab doctor; bin/gradlab probe adding --cell rnn,lstm,gru --len 50

# With the oldest versions that pyproject.toml allows; without the libraries whose cells are adapted, which want newer ones,
# and what makes pages.
test-lowest: $(LOWEST_STAMP)
	$(LOWEST_BIN)/python -m pytest --dist loadfile --numprocesses auto -m "not slow and not browser" --ignore tests/adapters \
	    --ignore tests/cells/test_library_defaults.py --ignore tests/docs --ignore tests/house

$(LOWEST_STAMP): pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST_BIN)/python $(PIP_INSTALL) --upgrade pip
	$(LOWEST_BIN)/python tests/support/lowest.py > .venv-lowest/lowest.txt
	$(LOWEST_BIN)/python $(PIP_INSTALL) --constraint .venv-lowest/lowest.txt --editable . --group tests
	touch $(LOWEST_STAMP)

# kill -9 at 20 random moments, resumed each time; a few minutes.
torture: setup
	$(BIN)/python tests/support/torture.py

# The claims that need no training, measured afresh: are the verdicts those of results/claims/? Nearly all of it is
# compilation, which takes XLA half as long without optimisation; no verdict depends on it.
claims-quick: setup
	XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1" $(BIN)/gradlab claims --check

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pages of docs/, README, results and docstrings, without network: docs/_build/html/index.html.
docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs . docs/_build/html

pictures: setup
	$(BIN)/python docs/pictures.py

# Under 30 minutes on two idle cores; writes results/bench.md, .csv and .svg.
bench: $(BENCH_STAMP)
	$(BENCH_BIN)/python -m bench all

# Under 5 minutes; writes results/bench-quick.*, which is not committed.
bench-quick: $(BENCH_STAMP)
	$(BENCH_BIN)/python -m bench quick

# An environment of its own, because the peers are large. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# gets the torch without CUDA where the index at hand has both.
$(BENCH_STAMP): pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(BENCH_BIN)/python -m pip install --quiet --upgrade pip
	$(BENCH_BIN)/python -m pip install --quiet --editable . --group bench
	touch $(BENCH_STAMP)

# About 100 times `gradlab check` on a small suite, two at a time; writes results/gate-study.md and .csv.
gate-study: $(GATE_STAMP)
	$(GATE_BIN)/python -m bench.gate

# The other releases of jax are looked at by the study alone, so they lie beside the environment.
$(GATE_STAMP): pyproject.toml
	$(PYTHON) -m venv .venv-gate
	$(GATE_BIN)/python -m pip install --quiet --upgrade pip
	$(GATE_BIN)/python -m pip install --quiet --editable . --group gate
	for version in $(OTHER_JAXES); do \
	    $(GATE_BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv-gate/other-jax/$$version \
	        jax==$$version jaxlib==$$version || exit 1; done
	touch $(GATE_STAMP)

# Results are spared: what takes hours to measure goes with clean-results alone.
clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What was measured, and what was made of it; what is committed of results/ stays.
clean-results:
	rm -rf results/runs results/sweeps results/report results/check
