# `make help` lists what there is. Everything runs in .venv, with the pins of constraints.txt. On Linux with Python
# 3.11 on x86-64 each file must have a hash of requirements.lock or torch-cpu.lock, which `make lock` writes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
BUNDLE := bundles/covid_cxr_classification
DEMO := demo
MLFLOW_TRACKING_URI ?= sqlite:///mlruns.db
override export MLFLOW_TRACKING_URI := $(value MLFLOW_TRACKING_URI)

# Without an NVIDIA GPU only the CPU build will do on Linux: the plain wheel brings gigabytes of CUDA.
# If pip does not find it, name the package index of PyTorch's CPU builds: make setup PIP_EXTRA_INDEX_URL=...
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_LABEL := $(if $(shell command -v nvidia-smi 2>/dev/null),,$(if $(filter Linux,$(shell uname -s)),+cpu))

ON_LOCKED_PLATFORM := $(shell $(PYTHON) -c "import sys, sysconfig; sysconfig.get_platform() == 'linux-x86_64' and sys.version_info[:2] == (3, 11) and print('yes')")
PIP_INSTALL := pip install --quiet --disable-pip-version-check
PIP_INSTALL_HASHED := $(PIP_INSTALL) --no-deps --require-hashes
INSTALL_TORCH := $(if $(and $(ON_LOCKED_PLATFORM),$(TORCH_LABEL)),$(PIP_INSTALL_HASHED) --requirement torch-cpu.lock,$(PIP_INSTALL) "torch==$(TORCH_VERSION)$(TORCH_LABEL)")

.DEFAULT_GOAL := help
.PHONY: lock audit-packages help setup demo test test-quick bench lint format docs docs-serve pictures mlflow monailabel monailabel-environment clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.installed  ## Create .venv with everything pinned (CPU build of torch where there is no GPU)

.venv/.installed: constraints.txt requirements.lock torch-cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing torch==$(TORCH_VERSION)$(TORCH_LABEL) and the pinned packages into .venv (2 to 4 minutes)..."
	@$(BIN)/$(INSTALL_TORCH) || \
	  { echo "No build torch==$(TORCH_VERSION)$(TORCH_LABEL) was found, or it is not the file that torch-cpu.lock names. Look up the index of CPU builds under 'Get Started' at pytorch.org, then: make setup PIP_EXTRA_INDEX_URL=THAT_ADDRESS"; exit 1; }
	$(if $(ON_LOCKED_PLATFORM),$(BIN)/$(PIP_INSTALL_HASHED) --only-binary :all: --requirement requirements.lock)
	$(BIN)/$(PIP_INSTALL) $(if $(ON_LOCKED_PLATFORM),--no-deps --no-build-isolation --editable .,--constraint constraints.txt --editable ".[dev]")
	@touch $@

demo: setup  ## Phantoms, training, evaluation and a prediction in a few minutes, from a fresh clone
	rm -rf $(DEMO)/run
	test -f $(DEMO)/phantom/datalist.json || $(BIN)/covid-monai data phantom $(DEMO)/phantom --patients 500 --size 320
	$(BIN)/python -W ignore -m monai.bundle run training \
	  --config_file "['$(BUNDLE)/configs/train.yaml','configs/experiments/demo.yaml']" \
	  --datalist $(DEMO)/phantom/datalist.json --output_dir $(DEMO)/run
	$(BIN)/covid-monai evaluate --bundle $(DEMO)/run --datalist $(DEMO)/phantom/datalist.json --output $(DEMO)/run/evaluation
	$(BIN)/covid-monai predict --bundle $(DEMO)/run \
	  $$($(BIN)/python -c "import json; print(*['$(DEMO)/phantom/' + r['image'] for r in json.load(open('$(DEMO)/phantom/datalist.json'))['test'] if r['image'].endswith('.dcm')][:3])")
	@echo
	@echo "Report:  $(DEMO)/run/evaluation/report.html"
	@echo "MLflow:  make mlflow"

# Two processes and no more: each takes up to 2 GB, and the servers that tests start want a core too.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test: setup  ## All tests; those that need the real images say so and skip without COVID_MONAI_DATA
	$(PYTEST)

test-quick: setup  ## The tests that take seconds, 4 to 5 minutes in all on 2 cores
	$(PYTEST) -m "not slow"

bench: setup  ## Time everything that docs/performance.md has a table for (20 minutes), into build/bench/
	$(BIN)/python benchmarks/run_all.py --output build/bench

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv and pip-audit have an environment of their own: what checks the pins is not among them.
TOOLS := build/tools
$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/$(PIP_INSTALL) uv==0.13.9 pip-audit==2.10.1
	@touch $@

# Without torch, whose plain wheel asks for CUDA. The worker's list holds what its image needs and no more.
LOCK := $(TOOLS)/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11.7
lock: $(TOOLS)/.installed  ## Write the lock files: every pin with the hashes of all its files
	grep -v '^torch==' constraints.txt | $(LOCK) --no-deps --output-file requirements.lock -
	echo torch > $(TOOLS)/excluded.txt
	printf 'covid-monai[fast,worker] @ .\nsetuptools\n' | $(LOCK) --constraint constraints.txt --excludes $(TOOLS)/excluded.txt \
	  --no-emit-package covid-monai --output-file deploy/worker/requirements.lock -
	grep -v '^torch==' deploy/monailabel/requirements.txt | $(LOCK) --no-deps --output-file deploy/monailabel/requirements.lock -
	rm -f $(TOOLS)/torch-*.whl
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest $(TOOLS) "torch==$(TORCH_VERSION)+cpu"
	{ echo 'torch==$(TORCH_VERSION)+cpu \'; $(BIN)/pip hash $(TOOLS)/torch-*.whl | sed -n 's/^--hash/    --hash/p'; } > torch-cpu.lock

audit-packages: $(TOOLS)/.installed  ## Ask a database of vulnerabilities about every pin (needs the network)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" .ci/audit_packages constraints.txt deploy/monailabel/requirements.txt

format: setup  ## Let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The variable silences the announcement of a successor.
docs: setup  ## Build the documentation's site into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: setup  ## Show the site at http://127.0.0.1:8001 (loopback only), built anew when a file changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict --dev-addr 127.0.0.1:8001

pictures: setup  ## Make docs/images/*.png from the real programs (needs chromium and chromium-driver)
	$(BIN)/python docs/pictures.py

mlflow: setup  ## Open the tracking UI at http://127.0.0.1:5000 (loopback only)
	$(BIN)/mlflow server --backend-store-uri "$$MLFLOW_TRACKING_URI" --host 127.0.0.1 --port 5000

MONAILABEL := .venv-monailabel
STUDIES ?= studies
ADDRESS ?= 127.0.0.1
PORT ?= 8000
ALLOWED_HOSTS ?= $(value ADDRESS)
# Data is never code: `value` keeps Make, and the environment keeps the shell, from running what a name holds.
unexport STUDIES EXPORT ADDRESS PORT ALLOWED_HOSTS
export LABEL_STUDIES := $(value STUDIES)
export LABEL_EXPORT := $(value EXPORT)
export LABEL_ADDRESS := $(value ADDRESS)
export LABEL_PORT := $(value PORT)
export LABEL_ALLOWED_HOSTS := $(value ALLOWED_HOSTS)
# The list is complete, and its own requirements contradict each other (pydicom-seg: numpy 1), hence --no-deps.
# MONAI Label asks for torchvision, which has no CPU build to fetch by pip: its Python part is enough, without the
# module that registers compiled operators. sam2 is left out: the server starts without it.
$(MONAILABEL)/.installed: deploy/monailabel/requirements.lock
	$(PYTHON) -m venv $(MONAILABEL)
	@echo "Installing MONAI Label into $(MONAILABEL) (3 to 6 minutes)..."
	$(MONAILABEL)/bin/$(INSTALL_TORCH)
	$(MONAILABEL)/bin/$(PIP_INSTALL_HASHED) --requirement $<
	$(if $(TORCH_LABEL),: > $$(echo $(MONAILABEL)/lib/python*/site-packages/torchvision)/_meta_registrations.py)
	@touch $@

monailabel-environment: $(MONAILABEL)/.installed  ## Create the environment of MONAI Label, apart from .venv

# Below runs/, which `make clean` leaves alone: what was trained in MONAI Label lies there. EXPORT=DIR replaces the
# bundle that is served. The empty file keeps MONAI Label from fetching a tool that nothing here uses.
LABEL_APP := runs/monailabel
monailabel: setup monailabel-environment  ## Export the bundle and serve it: make monailabel STUDIES=images/ (loopback only)
	@test -d "$$LABEL_STUDIES" || { case "$$LABEL_STUDIES" in http://*|https://*) ;; *) printf "No folder %s: make monailabel STUDIES=DIR, or the address of a DICOMweb server\n" "$$LABEL_STUDIES"; exit 1;; esac; }
	@case "$$LABEL_PORT" in ''|*[!0-9]*) echo "PORT is not a number: make monailabel PORT=8001"; exit 1;; esac
	mkdir -p $(LABEL_APP)/bin && touch $(LABEL_APP)/bin/itkimage2segimage && cp deploy/monailabel/main.py $(LABEL_APP)/
	if test -n "$$LABEL_EXPORT"; then rm -rf $(LABEL_APP)/model; fi
	test -d $(LABEL_APP)/model || { rm -rf $(LABEL_APP)/export && mkdir -p $(LABEL_APP)/export && \
	  $(BIN)/covid-monai export $${LABEL_EXPORT:+--bundle "$$LABEL_EXPORT"} --output $(LABEL_APP)/export && \
	  $(BIN)/python -m zipfile -e $(LABEL_APP)/export/*.zip $(LABEL_APP)/model; }
	$(MONAILABEL)/bin/pip install --quiet --no-deps --force-reinstall $(LABEL_APP)/model/*/wheels/covid_monai-*.whl
	umask 077 && PATH="$$PWD/$(MONAILABEL)/bin:$$PATH" \
	  MONAI_LABEL_CORS_ORIGINS="[\"http://127.0.0.1:$$LABEL_PORT\"]" \
	  MONAI_LABEL_DATASTORE_FILE_EXT='["*.dcm", "*.jpg", "*.jpeg", "*.png"]' \
	  MONAI_LABEL_DICOMWEB_SEARCH_FILTER='{}' MONAI_LABEL_DICOMWEB_CONVERT_TO_NIFTI=false \
	  monailabel start_server --app $(LABEL_APP) --studies "$$LABEL_STUDIES" --host "$$LABEL_ADDRESS" \
	  --port "$$LABEL_PORT" --conf allowed_hosts "$$LABEL_ALLOWED_HOSTS" \
	  --conf models "$$(ls $(LABEL_APP)/model)" --conf zoo_source local --conf sam2 false

clean:  ## Remove what the demo has made; .venv and your own runs stay
	rm -rf $(DEMO) build .pytest_cache .mypy_cache .ruff_cache
