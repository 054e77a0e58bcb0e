# Development commands. They need a clone, Python 3.11 or later, and make; each installs what it needs into .venv.
# The demo installs what a user's `pip install .` does. All others install the locks of requirements/, in which each
# file has its hash.
#
#   make demo           run the demo on a local gateway; no account needed
#   make test           run the tests that must pass for each change; tests/README.md describes each test command
#   make check          lint, types, tests, demo and documentation: must pass before a change is merged
#   make verify         all long tests: proofs, test-browser, test-terminal, test-exiftool, test-deploy, test-schedulers,
#                       test-store, test-machines, test-datasets, test-long, test-system, deletable, soak, mutants
#   make proofs         the tests marked slow; PROOFS=tests/... selects a directory
#   make crash          kill the command at each of its effects, in ROUNDS scenes
#   make deletable      delete each feature from a copy, and run the rest; ONLY=... selects features, QUICK=1 runs no tests
#   make soak           simulate faulty runs in virtual time for SECONDS; SEED=N replays one case
#   make campaign       run all verification for MINUTES and record the results in docs/reliability/
#   make nightly        play new seeds for MINUTES, as CI does each night
#   make mutants        mutation testing of the modules that protect credits and secrets; ONLY=... selects modules
#   make test-system    system call kills, power cuts, exFAT and FAT, and the wheel as the container image runs it; requires
#                       root, loop devices, FUSE, and the packages strace exfatprogs exfat-fuse dosfstools fusefat cron
#   make test-browser   test report.html and the viewer in Chromium; requires the package chromium
#   make test-terminal  test the live display in tmux, and completion in zsh and fish; requires all three
#   make test-exiftool  read the metadata of outputs with exiftool; requires it
#   make test-deploy    check the alerts, the Dockerfile, the Compose file and those of docs/deploy; requires the package
#                       promtool
#   make test-schedulers  test exported schedules with cron and systemd; requires both, and root
#   make test-store     test runs with outputs in an object store on a real S3 server, which is started for them
#   make test-machines  test runs on many machines: on a real S3 server and a real Dask cluster, which are started for them,
#                       and a few in virtual time
#   make test-datasets  load exports with the libraries that they are for: datasets, webdataset and pandas
#   make test-long      play 600 jobs on many processes, in a directory and on a real S3 server, while workers, the
#                       coordinator and the store are killed, frozen and restarted; five minutes
#   make bench          measure performance against reference scripts; QUICK=1 for a rough result, ONLY=NAME for one row
#   make docs           build the documentation into site/
#   make release        build the last commit twice, compare, and put wheel, source archive, SBOM and digests into dist/
#   make lock           write the locks of requirements/ after a change of dependencies; UPGRADE=1 takes the newest

PYTHON ?= python3
VENV   ?= .venv
ROUNDS ?= 3

# Otherwise each process, of which the tests start hundreds, compiles the program again.
unexport PYTHONDONTWRITEBYTECODE

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install install-all demo test coverage lowest verify proofs test-browser test-terminal test-exiftool test-deploy test-schedulers test-store test-machines test-datasets test-long test-system deletable crash soak
.PHONY: campaign mutants nightly figures bench lint format types check schema reference picture docs release lock clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# LOCKED installs files of requirements/, and nothing that they don't name. So PROJECT has nothing to install but itself.
PIP     := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED  := $(PIP) install --require-hashes --no-deps
PROJECT := $(PIP) install --no-deps --no-build-isolation --editable .
PROGRAM := $(BIN)/crucible-batch

$(PROGRAM): pyproject.toml
	@echo "Installing crucible-batch into $(VENV). This takes a minute at most, the first time only."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	@touch $@

install: $(STAMP)  ## Create .venv and install the project with its development tools

$(STAMP): pyproject.toml requirements/dev.txt
	@echo "Installing crucible-batch and its development tools into $(VENV). This may take a few minutes, the first time only."
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) -r requirements/dev.txt
	$(PROJECT)
	@touch $(PROGRAM) $@

GROUPS := browser schedulers campaign deploy store loaders
install-all: $(STAMP)  ## Install what all test commands need
	$(LOCKED) $(GROUPS:%=-r requirements/%.txt)
	@touch $(GROUPS:%=$(VENV)/.installed-%)

$(VENV)/.installed-%: requirements/%.txt $(STAMP)
	$(LOCKED) -r $<
	@touch $@

OPEN ?=
demo: $(PROGRAM)  ## Run manifests/demo.yaml on a local gateway and open the results
	@$(PROGRAM) demo $(OPEN)

# Five workers for two cores: while some wait for commands, others compute (tests/harness/order.py).
WORKERS ?= 5
SHARED := -n $(WORKERS) --dist worksteal
PYTEST := $(BIN)/python -m pytest $(SHARED)
test: $(STAMP)  ## Run the tests, except for those marked slow
	$(PYTEST) -m "not slow"

coverage: $(STAMP)  ## Run the tests and report which lines they cover
	$(PYTEST) -m "not slow" --cov=crucible_batch --cov-report=term:skip-covered

lowest: $(VENV)-lowest/.installed  ## Run the tests with the oldest dependencies that pyproject.toml permits
	$(VENV)-lowest/bin/python -m pytest $(SHARED) -m "not slow"

$(VENV)-lowest/.installed: pyproject.toml requirements/lock.txt
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct \
	  --editable '.[object-store,mcp,dask,sheets,apprise]' --group dev
	@touch $@

PROOFS ?= tests
proofs: $(STAMP)  ## Run the tests marked slow, or those of the directory PROOFS
	$(PYTEST) -m slow $(PROOFS)

verify: proofs test-browser test-terminal test-exiftool test-deploy test-schedulers test-store test-machines test-datasets test-long test-system deletable soak mutants  ## Run all long tests; same requirements as test-system

# make deletable ONLY="shards stages"; QUICK=1 runs a newcomer's commands, and no tests
deletable: $(STAMP)  ## Delete each feature from a copy of the project, and run the rest
	@$(BIN)/python -m tests.verification.deletable $(if $(QUICK),--quick) $(ONLY)

crash: $(STAMP)  ## Kill the command at each of its effects, in ROUNDS scenes
	@$(BIN)/python -m tests.verification.crash --rounds $(ROUNDS)

# make soak SECONDS=600; to replay the seed of a failure: make soak SEED=12345
SECONDS ?= 60
soak: $(STAMP)  ## Simulate faulty runs for SECONDS, including crashes
	@$(BIN)/python -m tests.verification.simulation.soak $(SECONDS) $(SEED)

# Writes the results into docs/performance.md and CONTRIBUTING.md, except with QUICK=1.
bench: $(STAMP)  ## Measure speed and memory against reference scripts; writes docs/performance.md and CONTRIBUTING.md
	$(BIN)/python -m benchmarks $(ONLY) $(if $(QUICK),--quick,--keep)

MINUTES ?= 150
campaign: $(VENV)/.installed-campaign  ## Run all verification for MINUTES and write docs/reliability/campaign-DATE.json
	@$(BIN)/python -m tests.verification.campaign --minutes $(MINUTES)

# make mutants ONLY="core/identity.py core/budget.py"; default: all modules that protect credits and secrets
mutants: $(VENV)/.installed-campaign  ## Mutation testing of the modules that protect credits and secrets
	@$(BIN)/python -m tests.verification.campaign.mutation $(ONLY)

# Another seed on each of 999 days; rows that need no root. The file is left in nightly/.
NIGHTLY := 1 2 3 5 6 9 10 16
nightly: $(VENV)/.installed-campaign  ## Play new seeds for MINUTES, as CI does each night
	@$(BIN)/python -m tests.verification.campaign --minutes $(MINUTES) $(NIGHTLY:%=--row %) --out nightly \
	  --seed $$(( $$(date +%s) / 86400 * 131 % 999 + 1 ))

# make figures FILES=campaign-2026-12-01.json adds the file of a night to the sums
figures: $(STAMP)  ## Write the results of all campaigns into README.md and docs/reliability/results.md
	@$(BIN)/python -m tests.verification.campaign.figures $(FILES)

test-system: $(STAMP)  ## Test kills at system calls, power cuts, exFAT, FAT, and a read-only root; requires root
	$(BIN)/python -m pytest -n 2 tests/verification/system

test-browser: $(VENV)/.installed-browser  ## Test the pages in Chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/verification/browser

test-schedulers: $(VENV)/.installed-schedulers  ## Test exported schedules with cron, systemd and the schemas of other schedulers
	$(BIN)/python -m pytest -n 2 tests/verification/schedulers

test-store: $(VENV)/.installed-store  ## Test runs with outputs in an object store on a real S3 server
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow" $(STORE_TESTS)

test-long: $(VENV)/.installed-store  ## Play 600 jobs on many processes, in a directory and on a real S3 server, while all is killed
	$(BIN)/python -m pytest -m slow tests/verification/objectstore/test_long_runs.py

MACHINE_TESTS := tests/verification/objectstore/test_s3_machines.py tests/verification/objectstore/test_s3_dask.py
STORE_TESTS := tests/verification/objectstore $(MACHINE_TESTS:%=--ignore=%)
test-machines: $(VENV)/.installed-store  ## Test runs on many machines: a real S3 server, a real Dask cluster, and virtual time
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow or machines" $(MACHINE_TESTS) tests/verification/fleet/test_machines.py

test-datasets: $(VENV)/.installed-loaders  ## Load exports with datasets, webdataset and pandas
	$(BIN)/python -m pytest tests/verification/datasets

test-terminal: $(STAMP)  ## Test the live display in tmux, and completion in zsh and fish
	$(BIN)/python -m pytest tests/verification/terminal

test-exiftool: $(STAMP)  ## Read the metadata of outputs with exiftool
	$(BIN)/python -m pytest $(wildcard tests/features/*/exiftool tests/features/*/*/exiftool)

test-deploy: $(VENV)/.installed-deploy  ## Test the alerts, the Dockerfile, the Compose file and those of docs/deploy
	$(BIN)/python -m pytest tests/verification/deploy

lint: $(STAMP)  ## Check lint rules, formatting, and the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/zizmor --offline --no-progress --quiet --persona auditor .

format: $(STAMP)  ## Fix lint errors and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## Check types
	$(BIN)/mypy

check: OPEN = --no-open
check: lint types test demo docs  ## Run everything that must pass before a change is merged

schema: $(STAMP)  ## Generate the JSON schemas
	$(BIN)/crucible-batch schema > docs/manifest.schema.json
	$(BIN)/crucible-batch schema --report > docs/report.schema.json
	$(BIN)/crucible-batch schema --plan > docs/plan.schema.json
	$(BIN)/crucible-batch schema --notification > docs/notification.schema.json

reference: $(STAMP)  ## Generate the reference pages from the models
	$(BIN)/python docs/make_reference.py

picture: $(VENV)/.installed-browser  ## Update the picture in the README: the demo's report in Chromium
	$(BIN)/python docs/make_picture.py

# Fails on a warning, a broken link, or a page that loads anything from another host.
docs: $(VENV)/.docs  ## Build the documentation into site/
	rm -rf site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs site
	$(BIN)/python docs/check_site.py site

$(VENV)/.docs: pyproject.toml requirements/run.txt requirements/docs.txt requirements/build.txt
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) -r requirements/run.txt -r requirements/docs.txt -r requirements/build.txt
	$(PROJECT)
	@touch $@

# Builds the last commit twice, and fails if the bytes differ. The SBOM is taken from an environment that contains only
# the wheel and its dependencies, as they are locked.
SBOM := dist/crucible-batch.cdx.json
INTO_RUNTIME := $(PIP) --python $(VENV)/runtime/bin/python install
release: $(VENV)/.release  ## Build the wheel, the source archive, their SBOM and digests into dist/
	rm -rf dist $(VENV)/runtime
	.ci/same-bytes $(BIN)/python dist
	$(PYTHON) -m venv --without-pip $(VENV)/runtime
	$(INTO_RUNTIME) --require-hashes --no-deps -r requirements/run.txt
	$(INTO_RUNTIME) --no-deps dist/*.whl
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o $(SBOM) $(VENV)/runtime
	@grep -q '"name": "httpx"' $(SBOM)
	cd dist && sha256sum -- * > SHA256SUMS

$(VENV)/.release: requirements/release.txt
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) -r $<
	@touch $@

UPGRADE ?=
lock: $(VENV)/.lock  ## Write the locks of requirements/; UPGRADE=1 takes the newest versions
	@.ci/lock $(BIN)/uv $(UPGRADE)

$(VENV)/.lock: requirements/lock.txt
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) -r $<
	@touch $@

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site *.egg-info
