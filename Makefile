# Everything that developers type. The environment is .venv, installed from hash-locked lists;
# a target sets up what it needs, and nothing when that is there.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
UV := $(BIN)/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-header --no-annotate --group build --extra demo --extra nats --extra triton

# Where `make install` puts things; DESTDIR stages them elsewhere. PYTHON is the one the installed
# environment runs on; a package built with it needs the same minor version. OPENCV=system installs
# no wheel of OpenCV and lets the environment see the system's Python packages. The environment is made
# in NEW and takes the place of the installed one when it is whole.
DESTDIR :=
PREFIX := /usr/local
OPT := /opt/edgewatch
NEW = $(DESTDIR)$(OPT).new
OLD = $(DESTDIR)$(OPT).old
PYTHON := /usr/bin/python3
OPENCV := wheel
ifneq ($(OPENCV),wheel)
ifneq ($(OPENCV),system)
$(error OPENCV=$(OPENCV) is not known: expected wheel or system)
endif
endif
DEB := build/deb
DEMO :=

# What `make race` compares with, in an environment of its own (6 GB, for torch comes with CUDA), and
# its arguments.
RIVALS := build/rivals
RACE :=

# The machine that `make deb` packages for. For another than this one, amd64 or arm64, uv chooses the
# wheels, since pip takes requirements and Python from the machine it runs on; nothing of them is run.
NATIVE := $(shell dpkg --print-architecture 2>/dev/null)
ARCH := $(NATIVE)
PLATFORM_amd64 := x86_64-manylinux_2_28
PLATFORM_arm64 := aarch64-manylinux_2_28
ifneq ($(ARCH),$(NATIVE))
ifeq ($(PLATFORM_$(ARCH)),)
$(error ARCH=$(ARCH) is not known: expected amd64 or arm64)
endif
FOREIGN := yes
endif
TESTS := tests/edge tests/test_python_versions.py

# How long `make fuzz` tries each of its targets, and which of them; without it all.
SECONDS := 60
FUZZ :=

# How long `make soak` lets a node run, and the seed of what happens to it; without one any.
HOURS := 1
SEED :=

# Tests run beside each other, those of one file in one process, which needs up to 2 GB.
WORKERS := 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: help setup demo test test-slow test-again test-pythons fuzz proof soak lint types docs reference bench race lock sbom licenses resolve install system-opencv install-files deb deb-check arm64-check container-check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/dev.stamp ## set up the development environment

demo: $(VENV)/runtime.stamp ## run the daemon on a synthetic camera
	$(BIN)/edge demo $(DEMO)

test: $(VENV)/dev.stamp ## run the tests but the slow ones
	$(PYTEST) -m 'not slow and not proof'

test-slow: $(VENV)/dev.stamp ## run the tests that train for long or kill processes
	$(PYTEST) -m 'slow and not proof'

test-again: $(VENV)/dev.stamp ## run those that failed in the last run once more, one after another
	bash tests/again.sh $(BIN)/python

test-pythons: $(VENV)/dev.stamp ## run the tests of edge on every Python that is found; TESTS= names some
	bash tests/pythons.sh $(UV) --numprocesses $(WORKERS) --dist loadfile -m 'not slow and not proof' \
		$(TESTS)

fuzz: $(VENV)/dev.stamp ## try damaged and hostile input for SECONDS=60 each; FUZZ=FILE names some of it
	FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest --numprocesses $(WORKERS) tests/fuzz/$(FUZZ)

proof: $(VENV)/dev.stamp ## measure the promises, for an hour or more; PROOF= names some of them
	$(BIN)/python -m pytest --capture no -m proof tests/proof/$(PROOF)

soak: $(VENV)/dev.stamp ## let a node run for HOURS=1 while all that can go wrong does; SEED= repeats a run
	$(BIN)/python -m tests.soak --hours $(HOURS) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/dev.stamp ## check style, format and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev.stamp ## check static types
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --no-warn-return-any  # numpy's newest types need 3.11

docs: $(VENV)/dev.stamp reference ## build the documentation in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

reference: $(VENV)/dev.stamp ## generate docs/reference from the code
	$(BIN)/python docs/generate.py

bench: $(VENV)/runtime.stamp ## measure speed, latency and memory against a baseline
	$(BIN)/edge bench

race: $(VENV)/dev.stamp $(RIVALS)/installed ## compare with what users would take instead; RACE="--clip FILE"
	$(BIN)/python -m tests.race --python $(RIVALS)/bin/python $(RACE)

$(RIVALS)/installed:
	rm -rf $(RIVALS)
	$(BIN)/python -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --disable-pip-version-check --quiet \
		'ultralytics>=8.4,<8.5' onnx onnxruntime onnxslim supervision trackers av pyzmq
	touch $@

# Each lock holds for Python 3.10 to 3.13 on x86-64 and ARM, and follows the one before it.
lock: $(VENV)/dev.stamp ## update the lock files; newest versions with UPGRADE=--upgrade
	$(LOCK) $(UPGRADE) --output-file .ci/runtime.lock pyproject.toml
	cp .ci/runtime.lock .ci/system-opencv.lock
	echo "numpy<2; python_version < '3.13'" | $(LOCK) --constraint - \
		--no-emit-package opencv-python-headless --output-file .ci/system-opencv.lock pyproject.toml
	$(LOCK) $(UPGRADE) --extra deploy --extra train --extra tensorrt-rtx --extra docs --extra test \
		--extra dev --constraint .ci/runtime.lock --output-file .ci/dev.lock pyproject.toml
	echo 'cyclonedx-bom>=7.5' | $(UV) pip compile --quiet --universal --python-version 3.10 \
		--generate-hashes --no-header --no-annotate $(UPGRADE) --output-file .ci/sbom.lock -
	cp .ci/dev.lock .ci/test.lock
	$(LOCK) --extra deploy --extra test --output-file .ci/test.lock pyproject.toml

# Registries differ from site to site, so the document names none: a file is known by its hash.
sbom: $(VENV)/dev.stamp build/sbom/installed ## write build/edgewatch.cdx.json: what ships, with hashes and licenses
	build/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--index-url . --output-file build/edgewatch.cdx.json .ci/runtime.lock
	$(BIN)/python docs/licenses.py build/edgewatch.cdx.json

build/sbom/installed: .ci/sbom.lock
	rm -rf build/sbom
	$(BIN)/python -m venv build/sbom
	build/sbom/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes \
		-r .ci/sbom.lock
	touch $@

licenses: $(VENV)/dev.stamp ## write the list of licenses of what is installed
	$(BIN)/python docs/licenses.py

resolve: $(VENV)/dev.stamp ## resolve every extra and lock file for each Python, x86-64 and ARM
	$(BIN)/python -m tests.resolve $(UV)

INSTALL = $(if $(FOREIGN),\
	$(UV) pip install --quiet --python $(NEW)/bin/python --only-binary :all: --no-binary edgewatch --no-binary nkeys \
		--python-platform $(PLATFORM_$(ARCH)),\
	$(NEW)/bin/python -m pip install --disable-pip-version-check --no-compile)

ifeq ($(OPENCV)$(FOREIGN),system)
install: system-opencv
endif

system-opencv:
	@$(PYTHON) -c 'import cv2' || { \
		echo "$(PYTHON) has no OpenCV: sudo apt install python3-opencv, or use JetPack's" >&2; exit 1; }

install: ## install the daemon and its unit; DESTDIR= PREFIX=/usr/local OPENCV=wheel
	rm -rf $(NEW)
	$(PYTHON) -m venv --prompt edgewatch $(if $(filter system,$(OPENCV)),--system-site-packages) $(NEW)
	$(INSTALL) --require-hashes -r .ci/$(if $(filter system,$(OPENCV)),system-opencv,runtime).lock
	$(INSTALL) --no-deps --no-build-isolation .
	rm -rf build/lib build/bdist.*
	$(if $(FOREIGN),,$(NEW)/bin/python -c 'import cv2')
	grep -rlI '$(NEW)' $(NEW)/bin $(NEW)/pyvenv.cfg | xargs -r sed -i 's|$(NEW)|$(OPT)|g'
	$(NEW)/bin/python -m compileall -q -s '$(NEW)' -p '$(OPT)' $(NEW)/lib || true
	if [ -e $(DESTDIR)$(OPT) ]; then rm -rf $(OLD) && mv $(DESTDIR)$(OPT) $(OLD); fi
	mv $(NEW) $(DESTDIR)$(OPT) || { [ ! -e $(OLD) ] || mv $(OLD) $(DESTDIR)$(OPT); exit 1; }
	rm -rf $(OLD)
	install -d $(DESTDIR)$(PREFIX)/bin
	ln -sf $(OPT)/bin/edge $(OPT)/bin/edge-deploy $(DESTDIR)$(PREFIX)/bin/
	$(MAKE) --no-print-directory install-files

install-files: ## install unit, user, folders and example only
	install -D -m 644 edge/systemd/edge@.service $(DESTDIR)$(PREFIX)/lib/systemd/system/edge@.service
	install -D -m 644 edge/systemd/edge-fleet.service $(DESTDIR)$(PREFIX)/lib/systemd/system/edge-fleet.service
	install -D -m 644 edge/systemd/edge.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/edge.conf
	install -D -m 644 edge/systemd/edge.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/edge.conf
	install -d $(DESTDIR)$(PREFIX)/share/doc/edgewatch
	install -m 644 edge/systemd/example.toml edge/systemd/cpu.conf deploy/monitoring/grafana.json \
		deploy/monitoring/alerts.yml README.md LICENSE NOTICE $(DESTDIR)$(PREFIX)/share/doc/edgewatch/
	install -d $(DESTDIR)$(PREFIX)/share/doc/edgewatch/fleet
	install -m 644 deploy/monitoring/fleet/*.yml deploy/monitoring/grafana-boards.yml \
		$(DESTDIR)$(PREFIX)/share/doc/edgewatch/fleet/

deb: $(if $(FOREIGN),$(VENV)/dev.stamp) ## build a Debian package in build/ that installs offline; ARCH=arm64
	rm -rf $(DEB)
	$(MAKE) install DESTDIR=$(abspath $(DEB)) PREFIX=/usr ARCH=$(ARCH)
	install -d $(DEB)/DEBIAN
	install -m 755 deploy/debian/postinst deploy/debian/prerm $(DEB)/DEBIAN/
	sh deploy/debian/control $(DEB) $(PYTHON) $(ARCH) > $(DEB)/DEBIAN/control.new
	mv $(DEB)/DEBIAN/control.new $(DEB)/DEBIAN/control
	dpkg-deb --root-owner-group -Zgzip -z6 --build $(DEB) build

deb-check: ## install the package into an empty root and run it; ARCH=arm64 looks at its libraries instead
	sh deploy/debian/check build/edgewatch_*_$(ARCH).deb

arm64-check: $(VENV)/dev.stamp ## build and install the package for ARM and compare what it finds, emulated; PACKAGE=
	bash tests/arm64.sh $(BIN)/python $(PACKAGE)

container-check: $(VENV)/dev.stamp ## build the image and run it; BASE= names an image to build on
	bash tests/container.sh $(UV) $(BIN)/python $(BASE)

clean: ## remove the environment and all generated files
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage

$(BIN)/python:
	@for python in python3.11 python3 python3.12 python3.13 python3.10; do \
		if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; \
		then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo 'Python 3.10 or newer with its venv module is needed: install python3 and' \
		'python3-venv' >&2; exit 1

# pip takes packages whose installation was interrupted for whole, so such an environment is made anew.
INSTALLING := $(VENV)/installing
define begin_installation
	@if [ -e $(INSTALLING) ] && ! kill -0 "$$(cat $(INSTALLING))" 2>/dev/null; then \
		echo 'the last installation into $(VENV) was interrupted: starting again'; \
		rm -rf $(VENV) && $(MAKE) --no-print-directory $(BIN)/python; fi
	@echo $$PPID >$(INSTALLING)
endef

$(VENV)/runtime.stamp: .ci/runtime.lock pyproject.toml | $(BIN)/python
	$(begin_installation)
	$(PIP) --require-hashes -r .ci/runtime.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@rm $(INSTALLING) && touch $@

$(VENV)/dev.stamp: .ci/dev.lock pyproject.toml | $(BIN)/python
	$(begin_installation)
	$(PIP) --require-hashes -r .ci/dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@rm $(INSTALLING) && touch $(VENV)/runtime.stamp $@
