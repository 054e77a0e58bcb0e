# Everything that the project needs, from a fresh clone with Python 3.11 or later and make.
#
#   make demo    a local gateway, thirty pictures, a report that opens: nothing to sign up for
#   make test    the tests of each change; tests/README.md lists what each command checks
#   make verify  the long proofs as well: all of `make proofs`, the browser, the terminal, system calls, and a soak
#   make proofs  the tests that are marked slow, or those of them below PROOFS
#   make crash   kill the command at each of its effects, and say what came of it
#   make soak    hostile runs in virtual time, for a minute or SECONDS
#   make campaign  everything that is tried against it, for two and a half hours or MINUTES, and a file of what came of it
#   make mutants    change what keeps the money and the secrets line by line, and count what the tests notice
#   make test-system    by system call, with the power cut, on exFAT and FAT: needs root, loop devices, FUSE and
#                (apt-get install) strace exfatprogs exfat-fuse dosfstools fusefat
#   make test-browser   report.html and the viewer in a real Chromium, which has to be there (apt-get install chromium)
#   make bench   measure what is promised of speed, beside the floors; QUICK=1 for a rough look, ONLY=downloads for one
#   make test-terminal   the live panel in tmux, the Tab key in zsh and fish, which have to be there
#   make docs    the documentation, in site/
#   make release  the wheel, the archive and their SBOM, in dist/
#   make check   what has to pass before a change lands: lint, format, types, tests, demo, docs

PYTHON ?= python3
VENV   ?= .venv
ROUNDS ?= 3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BROWSER_STAMP := $(VENV)/.installed-browser
CAMPAIGN_STAMP := $(VENV)/.installed-campaign

.PHONY: help install demo test coverage lowest verify proofs test-browser test-terminal test-system crash soak campaign mutants figures bench lint
.PHONY: format types check schema reference picture docs release clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP)  ## Make the virtual environment

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

OPEN ?=
demo: $(STAMP)  ## Run manifests/demo.yaml on a local gateway, and open its pictures as a grid
	@$(BIN)/crucible-batch demo $(OPEN)

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
test: $(STAMP)  ## Run the tests of each change; the long proofs are in verify
	$(PYTEST) -m "not slow"

coverage: $(STAMP)  ## Measure which lines the tests of a change run
	$(PYTEST) -m "not slow" --cov=crucible_batch --cov-report=term:skip-covered

lowest: $(VENV)-lowest/.installed  ## Run them on the oldest releases that pyproject.toml admits
	$(VENV)-lowest/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

$(VENV)-lowest/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct \
	  --editable '.[dev]'
	@touch $@

PROOFS ?= tests
proofs: $(STAMP)  ## Run the tests that take long, or those below PROOFS
	$(BIN)/python -m pytest -n 2 -m slow $(PROOFS)

verify: proofs test-browser test-terminal test-system soak mutants  ## Run the long proofs; needs what test-system needs

crash: $(STAMP)  ## Kill the command at each of its effects, in ROUNDS scenes
	@$(BIN)/python -m tests.verification.crash --rounds $(ROUNDS)

# make soak SECONDS=600, or the one seed that broke something: make soak SEED=12345
SECONDS ?= 60
soak: $(STAMP)  ## Simulate hostile runs for SECONDS, crashes included
	@$(BIN)/python -m tests.verification.simulation.soak $(SECONDS) $(SEED)

# The table in docs/performance.md is made by it, unless it is only a rough look.
bench: $(STAMP)  ## Measure speed and memory beside the floors, and write the table in docs/performance.md
	$(BIN)/python -m benchmarks $(ONLY) $(if $(QUICK),--quick,--keep)

MINUTES ?= 150
campaign: $(CAMPAIGN_STAMP)  ## Try everything for MINUTES, and write docs/reliability/campaign-DATE.json
	@$(BIN)/python -m tests.verification.campaign --minutes $(MINUTES)

# make mutants ONLY="domain/identity.py domain/budget.py"; all of them where none is named
mutants: $(CAMPAIGN_STAMP)  ## Change the modules that keep money and secrets, line by line, and see the tests notice
	@$(BIN)/python -m tests.verification.campaign.mutation $(ONLY)

figures: $(STAMP)  ## Write the figures of the newest campaign into the README
	@$(BIN)/python -m tests.verification.campaign.figures

test-system: $(STAMP)  ## Stop runs at system calls, cut their power, run on exFAT and FAT; needs root
	$(BIN)/python -m pytest -n 2 tests/verification/system

$(CAMPAIGN_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,campaign]'
	@touch $(CAMPAIGN_STAMP)

$(BROWSER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,browser]'
	@touch $(BROWSER_STAMP)

test-browser: $(BROWSER_STAMP)  ## Look at the pages in Chromium
	$(BIN)/python -m pytest tests/verification/browser

test-terminal: $(STAMP)  ## Look at the live panel in tmux, and press Tab in zsh and fish
	$(BIN)/python -m pytest tests/verification/terminal

lint: $(STAMP)  ## Lint, and see to the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Put the format right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## Check the types
	$(BIN)/mypy

check: OPEN = --no-open
check: lint types test demo docs  ## All that has to pass

schema: $(STAMP)  ## Write what the docs hold that the program makes: schemas, error codes
	$(BIN)/crucible-batch schema > docs/manifest.schema.json
	$(BIN)/crucible-batch schema --report > docs/report.schema.json
	$(BIN)/crucible-batch schema --plan > docs/plan.schema.json
	$(BIN)/crucible-batch schema --sidecar > docs/sidecar.schema.json
	$(BIN)/crucible-batch explain --markdown > docs/errors.md

reference: $(STAMP)  ## Write the reference pages that are made from the models
	$(BIN)/python docs/make_reference.py

picture: $(BROWSER_STAMP)  ## Take the README's picture: the demo's page, in Chromium
	$(BIN)/python docs/make_picture.py

# A warning fails, and so does a broken link, or a page that would load anything from another host.
docs: $(VENV)/.docs  ## Build the documentation into site/
	rm -rf site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs site
	$(BIN)/python docs/check_site.py site

$(VENV)/.docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

# The SBOM lists what the wheel runs with: it is taken from an environment that holds the wheel and nothing else.
SBOM := dist/crucible-batch.cdx.json
release: $(VENV)/.release  ## Build the wheel, the archive and their SBOM into dist/
	rm -rf dist $(VENV)/runtime
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv --without-pip $(VENV)/runtime
	$(BIN)/python -m pip --python $(VENV)/runtime/bin/python install --quiet --disable-pip-version-check dist/*.whl
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o $(SBOM) $(VENV)/runtime
	@grep -q '"name": "httpx"' $(SBOM)

$(VENV)/.release: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[release]'
	@touch $@

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site *.egg-info
