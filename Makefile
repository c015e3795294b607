# Everything runs in .venv, made here from any Python >= 3.11 that is found (or PYTHON=...).
#   make demo [FILE=path]   three real nodes, two holders, one of them killed
#   make test               lint, types, layers, all tests, one process of tests a core; the types beside them
#   make unit PYTEST_ARGS="-n 0 tests/unit/libp2p"   tests alone, some of them, in one process
#   make chaos              a server killed 100 times while it registers: nothing acknowledged is lost
#   make vopr [SEEDS=100-200]  whole nodes in virtual time on disks and networks that fail: nothing acknowledged is lost
#   make fuzz [MINUTES=60] [TARGET=kad-request]   hostile bytes for every entry that takes them; see docs/how-to/fuzz.md
#   make test-x402          vouchers claimed on a chain in Python, in an environment of their own (.make/x402)
#   make contracts          contracts/*.json anew, of their sources
#   make bench              every benchmark, each beside its ceiling; JSON in .make/bench.json
#   make flood              what a flood of STOREs costs a node, and honest offers meanwhile and after
#   make bench-short        a part of them, judged by the ratios of bench/results/ratios.json
#   make bench-peers [ONLY=go,js]  side by side with other implementations; JSON and plot in bench/results
#   make interop [ONLY=go,js] [ROWS=ping,echo-*]   other libp2p implementations that can be built here
#   make bench-get [GIB=0.25] [ONLY=seller,buyer]  selling and getting 1 GiB beside Kubo; JSON in bench/results
#   make loopback           real processes on this machine against our marks; JSON in bench/results
#   make attacked           a real server under all attacks at once; JSON in bench/results
#   make docs               the documentation as a site in .make/site; fails on a link that leads nowhere
#   make compiled           the engine as native classes, too, in .make/compiled: what make sim runs
#   make sanitize [ONLY=kernels,prop,unit,smoke,fuzz]  the kernels with sanitizers, in .make/sanitize, under these tests
#   make audit [OFFLINE=1]  known faults of the locked dependencies, their licences, a list of them in dist/sbom.json
#   make lock               requirements/*.txt anew: the newest dependencies that pyproject.toml allows, with hashes
#   make sim [SIM=churn]    networks of up to 100,000 nodes in virtual time; JSON in bench/results
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# What `make sim` runs, each at its own size, two at a time: some 45 minutes of CPU, 8 GiB at the most.
# SIM="static growth" for some of them, SIM_ARGS="--nodes 1000" for another size.
SIM := churn growth large-table targeted reannounce hostile partition dead20 slow20 static loss5 clients fetching \
  active-sybil passive-eclipse region-store store-flood price-flood one-prefix liveness36 table-health stale-providers
# Shares of the tests for each core, and whoever is done takes from another: no file has to wait for a long one.
PARALLEL := -n auto --dist worksteal
SOURCES := $(wildcard src/fastmarket/*.py src/fastmarket/*/*.py src/fastmarket/*/*/*.py)
KERNELS := $(wildcard src/fastmarket/_*.pyx src/fastmarket/native/*.p[yx][xd] src/fastmarket/native/include/*.h)

.PHONY: build demo test lint types layers unit test-x402 contracts bench bench-short bench-peers bench-get loopback compiled sanitize audit lock sim chaos vopr flood fuzz attacked interop proto docs wheel clean
.DEFAULT_GOAL := build

.make/venv: tools/make_venv.py
	@mkdir -p .make
	@PYTHON="$(PYTHON)" tools/make_venv.sh $(VENV)
	@touch $@

# An editable install builds the extensions in place; it is stale when a kernel or the build changes.
.make/build: .make/venv pyproject.toml setup.py $(KERNELS)
	@echo "building the extensions, some minutes the first time ..."
	@$(if $(LOCKED),$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt)
	@$(BIN)/python -m pip install -q --no-build-isolation $(if $(LOCKED),--no-deps -e .,-e ".[dev]")
	@touch $@

build: .make/build

demo: build
	@$(BIN)/python -m fastmarket.cli.demo $(if $(FILE),"$(FILE)")

# The cheap checks first. mypy would leave a core idle: it runs beside the tests and speaks only if it fails.
test: build lint layers
	@$(MAKE) --no-print-directory types > .make/types.log 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory unit; unit=$$?; \
	wait $$types || { cat .make/types.log; exit 1; }; \
	exit $$unit

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src/fastmarket

types: build
	$(BIN)/mypy

layers: build
	$(BIN)/lint-imports

# Hundreds of processes are started: each one reads what an earlier one compiled, whatever the environment says.
# PYTEST_ARGS="-p no:xdist" takes the options of that plugin away with it.
unit: export PYTHONDONTWRITEBYTECODE :=
unit: build
	$(BIN)/python -m pytest $(if $(findstring no:xdist,$(PYTEST_ARGS)),,$(PARALLEL)) $(PYTEST_ARGS)

# A chain, a compiler and signatures of others: away from the environment of the project, whose packages it sees.
.make/x402/made: .make/build requirements/x402.txt
	@echo "making .make/x402 ..."
	@rm -rf .make/x402 && $(BIN)/python -m venv .make/x402
	@.make/x402/bin/python -m pip install -q --no-deps --require-hashes -r requirements/x402.txt
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])" > \
	  $$(.make/x402/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")/project.pth
	@touch $@

test-x402: .make/x402/made
	@PYTHONPATH=$(CURDIR)/src .make/x402/bin/python -m pytest -q -p no:cacheprovider tests/x402 tests/unit/settlement $(PYTEST_ARGS)

contracts: .make/x402/made
	@.make/x402/bin/python contracts/build.py

bench: build
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-json .make/bench.json $(PYTEST_ARGS)
	$(BIN)/python -m bench.compare bench/results/ratios.json .make/bench.json

bench-short: build
	@$(BIN)/python -m bench.short

bench-peers: build
	@$(BIN)/python -m bench.peers $(if $(ONLY),--only "$(ONLY)")

bench-get: build
	@$(BIN)/python -m bench.get $(if $(GIB),--gib $(GIB)) $(if $(ONLY),--only "$(ONLY)")

loopback: build
	@$(BIN)/python -m bench.loopback

flood: build
	@$(BIN)/python -m bench.flood --json bench/results/flood.json

attacked: build
	@$(BIN)/python -m bench.attacked --json bench/results/attacked.json

# The same sources, by mypyc, in a copy of the package: beside the sources a change to one would go unnoticed.
# Some two minutes. PYTHONPATH=.make/compiled runs anything with it.
.make/compiled/made: .make/build $(SOURCES)
	@echo "compiling the engine ..."
	@rm -rf .make/compiled
	@FASTMARKET_COMPILED=1 $(BIN)/python setup.py -q build --build-lib .make/compiled > .make/compiled.log 2>&1 || \
	  { grep -m 20 error: .make/compiled.log; exit 1; }
	@touch $@

compiled: .make/compiled/made

# A copy as well; objects of its own, since the normal build would take these for its own.
.make/sanitize/made: .make/build $(SOURCES)
	@$(BIN)/python -m tools.sanitize --probe || exit 0; \
	echo "building the kernels with sanitizers ..."; \
	[ $@ -nt setup.py ] || rm -rf .make/sanitize; \
	FASTMARKET_SANITIZE=1 $(BIN)/python setup.py -q build -j 2 --build-temp build/temp-sanitize --build-lib .make/sanitize \
	  > .make/sanitize.log 2>&1 || { tail -20 .make/sanitize.log; exit 1; }; \
	touch $@

sanitize: .make/sanitize/made
	@$(BIN)/python -m tools.sanitize $(if $(ONLY),--only "$(ONLY)")

# Tools of other people with dependencies of their own, away from those of the project.
AUDIT := .make/audit/bin
.make/audit/made: .make/venv requirements/audit.txt
	@rm -rf .make/audit && $(BIN)/python -m venv .make/audit
	@$(AUDIT)/python -m pip install -q --require-hashes -r requirements/audit.txt
	@touch $@

audit: .make/build .make/audit/made
	@mkdir -p dist
	$(if $(OFFLINE),@echo "audit: known faults are left out - OFFLINE says so",$(AUDIT)/pip-audit --strict --disable-pip --require-hashes -r requirements/run.txt)
	$(AUDIT)/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --output-reproducible -o dist/sbom.json
	$(BIN)/python -m tools.third_party --check $(AUDIT)/pip-licenses

lock: .make/audit/made
	for name in run:all dev:dev audit:audit x402:x402; do \
	  case $${name#*:} in all) extras="--extra http --extra metrics --extra fleet --extra tracing --extra watch --extra fs --extra mdns";; \
	  x402) extras="--extra x402 --extra x402-test";; \
	  *) extras="--extra $${name#*:}";; esac; \
	  $(AUDIT)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header $$extras \
	    pyproject.toml -o requirements/$${name%:*}.txt || exit 1; done
	$(BIN)/python -m tools.third_party $(AUDIT)/pip-licenses

sim: compiled
	@printf '%s\n' $(SIM) | PYTHONPATH=.make/compiled xargs -P 2 -I{} $(BIN)/python -m fastmarket.sim --scenario {} --wire $(SIM_ARGS) \
	  --json bench/results/sim-{}.json

chaos: build
	@FASTMARKET_CHAOS_ROUNDS=100 $(BIN)/python -m pytest -q tests/e2e/test_durability.py

# VOPR_ARGS="--seconds 600" for all seeds that fit into ten minutes of CPU, --raises for the traceback of an exception.
vopr: build
	@$(BIN)/python -m tests.vopr $(or $(SEEDS),1-200) $(VOPR_ARGS)

# A target is a process of its own; what is found is in .make/fuzz, and the exit status is 1.
fuzz: build
	@if $(BIN)/python -m pip install -q --no-build-isolation "atheris>=3" 2>/dev/null; then :; \
	else echo "without atheris, which does not install here: inputs are not guided by coverage"; fi
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),60) $(if $(TARGET),--target $(TARGET)) $(FUZZ_ARGS)

interop: build
	@$(BIN)/python interop/run.py $(if $(ONLY),--only "$(ONLY)") $(if $(ROWS),--rows "$(ROWS)")
	@$(if $(ONLY)$(ROWS),,$(BIN)/python -m pytest -q interop/orcanet interop/routing interop/kubo interop/helia interop/conformance)

proto: build
	@$(BIN)/python -m pip install -q --no-build-isolation -e ".[proto]"
	tools/make_proto.sh $(BIN)/python

# Its one tool, not `-e .[docs]`, which would compile the kernels again.
.make/docs-tool: .make/build pyproject.toml
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" > $@.txt
	@$(BIN)/python -m pip install -q -r $@.txt
	@touch $@

docs: .make/docs-tool
	@$(BIN)/python -m tools.make_docs
	@echo "$(CURDIR)/.make/site/index.html"

wheel: build
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

clean:
	rm -rf .make $(VENV) build dist src/*.egg-info src/fastmarket/*.so src/fastmarket/native/*.so
