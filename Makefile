# One verb each; everything sets itself up in .venv with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench fuzz clean help

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "poplab needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## a PBX behind a site's connector calls softphones through a PoP, live
	@$(BIN)/poplab run scenarios/library/01-softphone-call.yaml --fabric loopback

test: $(READY) ## all tests; what needs more than this machine has is skipped with its reason
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(READY) ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fuzz: $(READY) ## explore: campaigns with drawn faults, a few minutes; SEED=N repeats one
	@seed=$${SEED:-$$(date +%s)}; for file in 22-fuzz-me 02-two-tenants-same-addresses 03-site-to-site 10-nat-rebinding; do \
	  echo "$$file, seed $$seed"; \
	  $(BIN)/poplab fuzz scenarios/library/$$file.yaml --runs $${RUNS:-200} --seed $$seed || exit $$?; \
	done

bench: $(READY) ## speed beside wireguard-go and the AEAD floor, as ratios (Linux, root, wireguard-go)
	@$(BIN)/python -m tests.benchmarks

clean: ## remove what the targets above made
	@rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
