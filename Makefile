# make setup | demo | test | lint | help.  TORCH=cuda installs the CUDA build.
.DEFAULT_GOAL := help
TORCH ?= cpu
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed-$(TORCH)
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: setup demo geometry test test-e2e chaos test-nodes test-docker test-cluster test-wheel lint docs lock inputs fuzz sbom wheels images publish help kind-up kind-test kind-down

help:            ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## .venv from the hash-locked requirements, and the project in it

$(STAMP): requirements/$(TORCH).txt requirements/from_lock.py pyproject.toml
	@test -x $(VENV)/bin/python || command -v $(PYTHON) >/dev/null || { echo "make: no program $(PYTHON); install Python 3.11, 3.12 or 3.13, or name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$$(test -x $(VENV)/bin/python && echo $(VENV)/bin/python || echo $(PYTHON)) requirements/prerequisites.py $(TORCH) .
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python requirements/from_lock.py $(TORCH)
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(DOCS_STAMP): requirements/docs.txt $(STAMP)
	$(VENV)/bin/pip install --quiet --require-hashes -r requirements/docs.txt
	touch $@

demo: setup      ## the whole pipeline on the miniature; prints the path of the report
	$(VENV)/bin/xstilts run pipelines/plans/demo.yaml --out runs/demo

geometry: setup  ## rows, pictures and a run of plans/modality-geometry.yaml with real tokenizers and sizes
	$(VENV)/bin/python -m pytest -q tests/e2e/test_geometry.py

test: setup $(DOCS_STAMP)  ## the tests, without whole runs (make test-e2e)
	$(VENV)/bin/python -m pytest -q -n 2 -m "not e2e and not nodes and not docker and not cluster"

test-e2e: setup $(DOCS_STAMP)  ## whole runs and groups on a real Ray: killed, failing, with one and two workers, watched from outside
	$(VENV)/bin/python -m pytest -q -m "e2e and not nodes and not docker" tests/e2e --ignore tests/e2e/test_geometry.py

chaos: setup     ## runs that are killed, lose servers, blobs and workers; writes the table of docs/reliability.md
	$(VENV)/bin/python -m tests.reliability.chaos
	$(VENV)/bin/python -m tests.reliability.page

test-nodes: setup   ## Ray over several nodes, as network namespaces of this machine (needs root)
	$(VENV)/bin/python -m pytest -q -m nodes tests/e2e

test-docker: setup  ## the small plan, every component in its own image (needs an engine and make images)
	XSTILTS_DOCKER=required $(VENV)/bin/python -m pytest -q -m docker tests/e2e

test-cluster: setup  ## k8s/ and runs on the cluster of KUBECONFIG, with the S3 of AWS_*; TABLE=FILE writes the results
	$(VENV)/bin/python -m pytest -q -m cluster $(if $(TABLE),--cluster-table $(TABLE)) tests/cluster

test-wheel: setup  ## the wheel in an environment of its own: downloads and installs 2 GB
	XSTILTS_INSTALL=1 $(VENV)/bin/python -m pytest -q -n 0 tests/test_wheel.py

inputs: setup    ## bad inputs; writes what each ends with to docs/reliability/inputs.json
	XSTILTS_GOLDEN=write $(VENV)/bin/python -m pytest -q -n 0 tests/inputs/test_inputs.py

fuzz: setup      ## the parsers under atheris, if it is installed; SECONDS=600 for each
	$(VENV)/bin/python -m tests.fuzz.run --seconds $(or $(SECONDS),60)

lint: setup $(DOCS_STAMP)  ## ruff, mypy, deptry, licences of packages, and the words of docs, help and messages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/deptry --no-ansi xstilts components pipelines images
	$(VENV)/bin/python -m requirements.licences
	$(VENV)/bin/python style/check.py --python

docs: setup $(DOCS_STAMP)  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

lock:            ## resolve requirements/cpu.in and docs.in again (needs uv and an index)
	$(VENV)/bin/python -m requirements.lock $(TORCH_CPU_WHEEL)

wheels: setup   ## the images' wheels into wheelhouse/, by the lock; after it images build without an index
	$(VENV)/bin/python -m images.wheels $(TORCH)

images: setup   ## one image a component, on this machine's Docker engine; BASE_IMAGE=… takes another base
	$(VENV)/bin/python -m images.build --torch $(TORCH) $(if $(BASE_IMAGE),--base $(BASE_IMAGE))

sbom: setup      ## a CycloneDX SBOM per image, in build/sbom
	$(VENV)/bin/python -m images.sbom build/sbom $(TORCH)

publish: setup  ## images to REGISTRY under TAG; then `xstilts lock --registry REGISTRY --tag TAG --resolve`
	$(VENV)/bin/python -m images.build --torch $(TORCH) --push $(REGISTRY) --tag $(TAG)

kind-up: setup   ## a kind cluster with KFP, KubeRay, S3, our base and images; DRY_RUN=1 only says what it would do
	k8s/kind/up.sh

kind-test: setup ## the plan kind.yaml on that cluster, and a check of its report
	k8s/kind/test.sh

kind-down:       ## deletes that cluster
	k8s/kind/down.sh
