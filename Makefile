# The two commands of the README: make demo, make test. Both do all the set-up by themselves.
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint bench chaos nightly deb docs clean

demo: $(READY)
	@$(BIN)/bollard demo

test: export PYTHONDONTWRITEBYTECODE =
test: export NUMBA_CACHE_DIR = $(CURDIR)/$(VENV)/kernels
test: $(READY)
	@$(BIN)/bollard edge warm  # once, not in every worker and agent at the same time; the plants, too
	@$(BIN)/bollard sim truth port-day --out $(VENV)/truth.csv --span-s 60 >/dev/null
	@# a test that hangs is named, with its stacks, and ends its worker; the others go on
	$(BIN)/pytest -q --benchmark-disable -n 4 --max-worker-restart 2 -o faulthandler_timeout=400 \
	  -o faulthandler_exit_on_timeout=true --ignore tests/chaos/test_chaos.py --ignore tests/chaos/test_faults.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/pytest -q benchmarks --ignore benchmarks/test_peers.py --benchmark-only --benchmark-columns=min,median,rounds --benchmark-sort=min -s

# Random faults over a running system, then each fault alone: make chaos SEED=7 FAULTS=200. The report is printed and
# kept in chaos-out.
chaos: SEED ?= 1
chaos: FAULTS ?= 500
chaos: export NUMBA_CACHE_DIR = $(CURDIR)/$(VENV)/kernels
chaos: $(READY)
	@$(BIN)/bollard edge warm
	@BOLLARD_REQUIRE_SERVERS=1 BOLLARD_CHAOS_SEED=$(SEED) BOLLARD_CHAOS_FAULTS=$(FAULTS) BOLLARD_CHAOS_OUT=$(CURDIR)/chaos-out \
	  timeout --kill-after=30 5400 $(BIN)/pytest -q -s -n 0 tests/chaos/test_chaos.py tests/chaos/test_faults.py

# What takes longer than a person waits, some hours: half an hour of random faults, 500 faults over a running system
# for each of three seeds, 4000 power cuts, 100 000 mutated messages, every benchmark with ten minutes of faults for
# memory, four days of outage and ten million waiting rows, and the others that do the same work (installed at the
# first run). Then the Debian packages, proved in clean root file systems: as root, with debootstrap, qemu-user-static,
# gnupg and apt-utils. Output is kept.
nightly: export NUMBA_CACHE_DIR = $(CURDIR)/$(VENV)/kernels
nightly: $(READY)
	@mkdir -p docs
	@$(BIN)/bollard edge warm
	@{ echo "$$(date -u +%F) · $$($(BIN)/python -V) · $$(uname -srm) · $$(nproc) cores · load$$(uptime | sed 's/.*average//')"; \
	  code=0; \
	  BOLLARD_SOAK_S=1800 $(BIN)/pytest -q -s -n 0 tests/drivers/test_fault_soak.py || code=1; \
	  for seed in 1 2 3; do $(MAKE) --no-print-directory chaos SEED=$$seed FAULTS=500 || code=1; done; \
	  BOLLARD_POWER_CUTS=4000 BOLLARD_FUZZ=100000 $(BIN)/pytest -q -s -n 0 tests/edge/test_power_cut.py tests/gateway/test_fuzz.py || code=1; \
	  BOLLARD_SPOOL_ROWS=10000000 BOLLARD_FAULTS_S=600 BOLLARD_OUTAGE_H=96 $(BIN)/pytest -q -s -n 0 -rs benchmarks --benchmark-columns=min,median,rounds || code=1; \
	  exit $$code; } 2>&1 | tee docs/nightly.txt
	@$(MAKE) --no-print-directory deb
	@{ for arch in amd64 arm64; do deploy/deb/prove.sh $$arch $(CURDIR)/build/prove dist || exit 1; done; } 2>&1 | \
	  sed 's#$(CURDIR)/build/prove#WORK#g' | tee docs/deploy.txt

# Debian packages for both processors, in dist/. Needs Debian 12 and Python 3.11.
deb: $(READY)
	$(BIN)/python deploy/deb/build.py --arch amd64 --arch arm64

# The documentation as a site, in build/docs/site; a warning is an error.
docs: $(READY)
	@$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	@$(BIN)/python docs/site/build.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bollard needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "1/2 virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "2/2 packages (about a minute)"
	@$(BIN)/pip install --progress-bar on -c constraints.txt -e '.[shore,sim,dev]' | grep --line-buffered -E '^(Collecting|Installing|ERROR)' | cut -c1-100
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo-out chaos-out
