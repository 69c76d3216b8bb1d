# `make` lists what can be made. Only `install`, `docs`, `lock`, `audit` and `test-plans` use the network, and only when
# something changed.
# Every path is relative, so the checkout may lie in a folder with spaces in its name.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
PLANS := build/plans
DOCS := build/docs

.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-as-users test-plans mutations lint docs audit lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with the exact versions in requirements.lock (PYTHON=python3.13 picks a Python)

# The stamp file is as old as the last complete installation, so an unchanged project installs nothing.
$(INSTALLED): pyproject.toml requirements.lock files.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Ceteris needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make PYTHON=python3.13" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.lock (1.7 GB on disk, a minute or more)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r files.lock
	@echo "Installing this project, so that its folder is what Python imports"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

demo: install ## install, train a small CNN on 8x8 digits, then ablate two of its parts; ends by naming the report to open
	$(RUN) -m experiments.digits_cnn
	$(RUN) -m experiments.digits_cnn ablate --axis model.dropout=0 --axis data.shift=0 --seeds 5

test: install ## run every test (ARGS="-n 0 -k name" is handed to pytest, here and below); build/tests.xml has their seconds
	$(RUN) -m pytest --junit-xml build/tests.xml $(ARGS)

test-quick: install ## run the tests that take a few seconds at most
	$(RUN) -m pytest -m "not slow" $(ARGS)

# Tests share compiled programs and compile with most optimizations off; .ci/as-users names some of every room.
test-as-users: install ## run some tests of each room as a user's first run compiles
	CETERIS_TEST_COMPILES="as users" $(RUN) -m pytest @.ci/as-users $(ARGS)

# The compilers for TPUs and GPUs change what `import jax` finds, so they have an environment of their own.
$(PLANS)/installed: pyproject.toml plans.lock
	@echo "Making $(PLANS) with the compilers for TPUs and GPUs (3 GB on disk, minutes)"
	@$(PYTHON) -m venv $(PLANS)
	@$(PLANS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r plans.lock
	@$(PLANS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-plans: $(PLANS)/installed ## have the compilers for TPUs and GPUs compile what would run there; takes minutes
	$(PLANS)/bin/python -m pytest tests/planning -m "plan_tpu or plan_gpu" --dist load $(ARGS)

mutations: install ## break the code in many ways, one by one, and fail where no test notices
	$(RUN) -m tests.mutations $(ARGS)

lint: install ## check style, formatting, the direction of imports, and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m mypy

# Sphinx imports the project for its reference, so this environment has what the project needs, in the locked versions.
$(DOCS)/env/installed: pyproject.toml docs.lock
	@echo "Making $(DOCS)/env with Sphinx and what the project imports (a minute or more)"
	@$(PYTHON) -m venv $(DOCS)/env
	@$(DOCS)/env/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs.lock
	@touch $@

docs: $(DOCS)/env/installed ## build the site of docs/ in build/docs/html; a warning is an error
	$(DOCS)/env/bin/python -m sphinx -q -n -W --keep-going -d $(DOCS)/doctrees docs $(DOCS)/html $(ARGS)
	@echo "Open $(DOCS)/html/index.html"

# A package that the database does not know is an error too (--strict): else nothing known would look like no weakness.
audit: ## compare the locked packages with the database of known weaknesses; needs the network
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock $(ARGS)

# uv lives in a folder of its own, so that a broken lock can still be mended.
lock: ## write the lock files anew, keeping their versions where possible (ARGS=--upgrade takes the newest)
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/uv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra mnist5k \
	  --extra text --extra dates --extra phonemes --extra series --extra vowels --extra slurm --extra ray --extra tune \
	  --extra weights --extra gguf --extra hub --extra baselines \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(ARGS) \
	  --output-file requirements.lock pyproject.toml
	build/uv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra plan-tpu \
	  --extra plan-gpu --extra text --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file plans.lock pyproject.toml
	build/uv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --extra docs \
	  --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file docs.lock pyproject.toml

clean: ## remove .venv and everything built or cached; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find research experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +
