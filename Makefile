# `make` alone lists the targets. PYTHON selects the interpreter; each one has its own virtual environment.
PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV ?= .venv
else
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print(sys.implementation.cache_tag + sys.abiflags)')
endif
EXTRA ?= dev
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard src/fastdag/*.pyx src/fastdag/*.pxd)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint types pytest debug coverage sanitize soak bench marks profile clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(VENV)/.built  ## build, take two real graphs through a Manager from several threads, and run a plan
	$(BIN)/python -m profiles.stress
	PATH="$(abspath $(BIN)):$$PATH" fastdag run examples/workspace.toml

test: lint types pytest  ## everything that has to pass: lint, types, tests

lint: $(VENV)/.built  ## ruff
	$(BIN)/ruff check

types: $(VENV)/.built  ## mypy --strict, and the core's stub against the core
	$(BIN)/mypy
	$(BIN)/mypy conftest.py benchmarks profiles tests/typing
	$(BIN)/python -m mypy.stubtest fastdag._core --mypy-config-file pyproject.toml

pytest: $(VENV)/.built  ## the tests alone
	$(BIN)/python -m pytest

debug: $(VENV)/.built  ## schedules of the core's threads, and every allocation of it failing once, in a debug build
	$(BIN)/python -m tests.debug debug

coverage: $(VENV)/.built  ## lines and branches of Python, and lines of the core, that the tests run
	$(BIN)/python -m tests.debug coverage

sanitize: $(VENV)/.built  ## the core under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	$(BIN)/python -m tests.debug thread address

soak: $(VENV)/.built  ## the long forms of the service's tests: 200 times kill -9 under load, and more
	$(BIN)/python -m tests.soak

bench: $(VENV)/.built  ## all benchmarks beside the peers; results in benchmarks/results/
	mkdir -p benchmarks/results
	$(BIN)/python -m pytest --benchmark --benchmark-json=benchmarks/results/latest.json \
	    --benchmark-report=benchmarks/results/latest.html

marks: $(VENV)/.built  ## the marks that were set, met or missed
	$(BIN)/python -m benchmarks.marks

profile: $(VENV)-profile/.built  ## where the time goes and what allocates: profiles/out/report.html
	$(VENV)-profile/bin/python -m profiles.record

clean:  ## remove what was built, the virtual environments too
	rm -rf build dist .venv .venv-* src/*.egg-info src/fastdag/*.so profiles/out benchmarks/results
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find benchmarks profiles src tests -name __pycache__ -prune -exec rm -rf {} +

# Without isolation pip builds with the Cython that the environment has, and the log shows the compiler's warnings. What
# the tests need is not compiled here: of a package that has no wheel for this interpreter pip takes the newest that has.
$(VENV)/.built: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip 'setuptools>=77' 'Cython>=3.1'
	$(BIN)/python -m pip install --verbose --disable-pip-version-check --no-build-isolation --prefer-binary \
	    --editable '.[$(EXTRA)]' \
	    > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@grep '[wW]arning:' $(VENV)/build.log | grep -v 'no previously-included' || true
	touch $@

# Installed, not editable: the core with symbols must not take the place of the one in src. Where a profiler cannot be
# installed the report goes without it, and says so.
$(VENV)-profile/.built: $(SOURCES) $(wildcard src/fastdag/*.py)
	test -x $(VENV)-profile/bin/python || $(PYTHON) -m venv $(VENV)-profile
	$(VENV)-profile/bin/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'Cython>=3.1'
	for extra in '[profile]' ''; do \
	    FASTDAG_PROFILE=1 $(VENV)-profile/bin/python -m pip install --verbose --disable-pip-version-check \
	        --no-build-isolation ".$$extra" > $(VENV)-profile/build.log 2>&1 && break; \
	done || { cat $(VENV)-profile/build.log; exit 1; }
	touch $@
