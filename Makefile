# edge-ser. Two commands are all a newcomer needs: `make demo` and `make test`.
#
# Each makes the environment that it needs, once, out of Python and the package index; it is
# made again when what is to be installed changes. Choose another Python with
# `make test PYTHON=python3.12`.

PYTHON ?= python3
PYTEST_ARGS ?=
ARGS ?=

VENV := .venv
DEMO_VENV := .venv-demo
CONSTRAINTS_VENV := build/constraints-venv

# `make test MIC=1` tests the microphone too. It has to be asked for: PyAudio has no Linux wheel
# and compiles, which needs PortAudio's and Python's headers (portaudio19-dev, python3-dev, gcc).
MIC ?=
comma := ,
EXTRAS := onnx,gate,mqtt,convert,train,bench,cluster,dev$(if $(MIC),$(comma)mic)
DEMO_EXTRAS := onnx,convert,bench
# The oldest Python that edge-ser runs on: what has a version for it has one for newer ones too.
CONSTRAINTS_PYTHON := 3.11

INSTALLED := $(VENV)/.installed$(if $(MIC),-mic)
DEMO_INSTALLED := $(DEMO_VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-pi check install wheel model results constraints clean distclean

help: ## Say what can be made
	@echo "usage: make TARGET [PYTHON=python3.12] [PYTEST_ARGS='-k features']"
	@echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1	\2/p' Makefile | expand -t 15

demo: $(DEMO_INSTALLED) ## Show what edge-ser does, with the model in the package
	@$(DEMO_VENV)/bin/edge-ser demo

# Test files at a time, one a core up to four, since each may need 2 GB; a file's tests share what
# they set up, and so stay together. `make test TEST_JOBS=0` runs one after the other.
TEST_JOBS ?= logical
SIDE_BY_SIDE := -n $(TEST_JOBS) --maxprocesses 4 --dist loadfile

# Threads of one test that wait for each other cost many times what they save on a busy machine.
test: export OMP_NUM_THREADS ?= 1
test: check ## Check style, types and layers, then run every test
	@echo "==> pytest: every test"
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-pi: export OMP_NUM_THREADS ?= 1
test-pi: $(INSTALLED) ## Run the device's tests on emulated Raspberry Pi cores (x86-64 Debian only)
	@echo "==> pytest: on emulated cores (minutes; kept in build/pi-test)"
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS) tests/on_pi

check: $(INSTALLED) ## Check style, types and layers only
	@echo "==> ruff: style"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@echo "==> mypy: types"
	@$(VENV)/bin/mypy --strict
	@echo "==> import-linter: layers"
	@$(VENV)/bin/lint-imports --no-logo

install: $(INSTALLED) ## Make .venv, the environment to work in
	@echo "source $(VENV)/bin/activate"

wheel: $(INSTALLED) ## Build the wheel into dist/
	@rm -rf build/lib build/bdist.*  # setuptools would pack what an earlier build left there
	@$(VENV)/bin/python -m build --wheel --no-isolation
	@ls -l dist/*.whl

model: $(INSTALLED) ## Train the model in the package again (hours; needs EDGE_SER_CORPORA)
	@$(VENV)/bin/python benchmarks/boxed_model.py

results: export OMP_NUM_THREADS ?= 1
results: $(INSTALLED) ## Recompute RESULTS.md, what is missing of it (ARGS='--plan' says how long)
	@$(VENV)/bin/python benchmarks/result_book.py $(ARGS)

constraints: $(CONSTRAINTS_VENV)/.installed ## Choose the versions in constraints.txt anew
	@echo "==> constraints.txt: resolving every extra (a minute)"
	@CUSTOM_COMPILE_COMMAND="make constraints" $(CONSTRAINTS_VENV)/bin/pip-compile --quiet --upgrade \
	  --all-extras --strip-extras --allow-unsafe --no-annotate --no-emit-options \
	  --output-file build/constraints.txt pyproject.toml
	@# Which build of torch this machine gets, and what only that build brings, is its own affair:
	@# elsewhere any build of the same version is right.
	@sed -E -e 's/\+[a-z0-9.]+$$//' -e '/^(nvidia|cuda|triton)/d' -e '/considered to be unsafe/d' \
	  build/constraints.txt > constraints.txt
	@echo "==> constraints.txt: $$(grep -c == constraints.txt) versions"

clean: ## Remove what was built and cached; keep .venv and .venv-demo
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache
	find edge_ser convert firmware_host tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove the environments too
	rm -rf $(VENV) $(DEMO_VENV)

$(INSTALLED): pyproject.toml constraints.txt
	@$(call make-venv,$(VENV))
	@echo "==> $(VENV): installing edge-ser and all it is made with (minutes: PyTorch is large)"
	@$(VENV)/bin/python -m pip install --editable '.[$(EXTRAS)]' --constraint constraints.txt
	@touch $@

$(DEMO_INSTALLED): pyproject.toml constraints.txt
	@$(call make-venv,$(DEMO_VENV))
	@echo "==> $(DEMO_VENV): installing edge-ser, without PyTorch (a minute)"
	@$(DEMO_VENV)/bin/python -m pip install --editable '.[$(DEMO_EXTRAS)]' --constraint constraints.txt
	@touch $@

$(CONSTRAINTS_VENV)/.installed:
	@$(PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(CONSTRAINTS_PYTHON)")' \
	  || { echo "make: $(PYTHON) is not Python $(CONSTRAINTS_PYTHON), which constraints.txt is made on;" \
	       "give PYTHON=python$(CONSTRAINTS_PYTHON)" >&2; exit 1; }
	@$(call make-venv,$(CONSTRAINTS_VENV))
	@$(CONSTRAINTS_VENV)/bin/python -m pip install --quiet pip-tools
	@touch $@

# $(call make-venv,FOLDER): an environment with pip in it; one that lacks pip is half made.
define make-venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "make: $(PYTHON) is no Python 3.11 or later; install one and give PYTHON=python3.12, say" >&2; \
  exit 1; }; \
test -x $(1)/bin/pip || { \
  echo "==> $(1): making the environment with $$($(PYTHON) --version)"; \
  $(PYTHON) -m venv --clear $(1); }
endef
