# Every target has its help after two hashes; `make help` shows it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo kafka venv kafka-libs etcd-bins lint format test unit integration soak bench wheelhouse fleet-lint molecule molecule-vm clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
DEMO := .cache/demo-venv
DEMO_STAMP := $(DEMO)/.complete
FLEET := .cache/fleet-venv
FLEET_STAMP := $(FLEET)/.complete
MOLECULE := .cache/molecule-venv
MOLECULE_STAMP := $(MOLECULE)/.complete
VERSION := 3.9.1
CODE := logagent tests bench scripts ansible molecule setup.py
PYTEST := $(BIN)/python -m pytest

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(STAMP) ## make .venv with logagent (editable), its tests' and its linters' packages

$(STAMP): setup.py scripts/venv.sh
	scripts/venv.sh $(VENV)
	@touch $@

$(DEMO_STAMP): setup.py scripts/venv.sh
	@echo "Making an environment for the demo in $(DEMO), once."
	@mkdir -p $(dir $(DEMO))
	@scripts/venv.sh $(DEMO) demo
	@touch $@

demo: $(DEMO_STAMP) ## see it at work: an agent, a writer that rotates, a test broker, a count (ARGS="--seconds 20")
	@$(DEMO)/bin/python -m logagent demo $(ARGS)

kafka: $(DEMO_STAMP) kafka-libs ## run a real Kafka on loopback until Ctrl-C (VERSION=4.x for another than 3.9)
	@$(DEMO)/bin/python -m logagent.demo.kafka $(VERSION)

kafka-libs: ## fetch real Kafka brokers into the cache outside the tree (asks before it installs Java or Maven)
	@scripts/kafka-libs.sh

etcd-bins: venv ## fetch and build real Etcd servers into the cache outside the tree (pip, Go)
	@scripts/etcd-bins.sh

lint: venv ## check style, types and who imports whom
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/ruff format --check --quiet $(wildcard $(CODE))
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/importlinter

format: venv ## format the code, sort its imports
	$(BIN)/ruff check --select I --fix --quiet $(wildcard $(CODE))
	$(BIN)/ruff format --quiet $(wildcard $(CODE))

test: venv kafka-libs etcd-bins lint ## everything: linters, unit tests, integration tests on real services
	$(PYTEST)

unit: venv ## only the tests that need no service
	$(PYTEST) --ignore=tests/integration --ignore=tests/contract

integration: venv kafka-libs etcd-bins ## only the tests on real brokers and Etcd servers
	$(PYTEST) tests/integration tests/contract

soak: venv etcd-bins ## the long forms of tests: minutes each
	$(PYTEST) -m soak -s tests/unit tests/model tests/integration tests/contract

bench: venv kafka-libs ## measure beside rsyslog (wants rsyslog and rsyslog-kafka; a quarter of an hour, not part of test)
	$(BIN)/python -m bench all

$(FLEET_STAMP): setup.py scripts/venv.sh
	@echo "Making an environment with Ansible in $(FLEET), once."
	@mkdir -p $(dir $(FLEET))
	@scripts/venv.sh $(FLEET) fleet
	@touch $@

wheelhouse: $(FLEET_STAMP) ## pack what hosts install the agent from (PYTHONS=3.13 for other Pythons of theirs)
	@$(FLEET)/bin/python scripts/wheelhouse.py $(if $(PYTHONS),--pythons $(PYTHONS)) $(ARGS)

$(MOLECULE_STAMP): setup.py scripts/venv.sh
	@echo "Making an environment with Ansible and Molecule in $(MOLECULE), once."
	@mkdir -p $(dir $(MOLECULE))
	@scripts/venv.sh $(MOLECULE) molecule
	@touch $@

fleet-lint: $(MOLECULE_STAMP) ## check the style of the role, the playbooks and the scenarios
	@PATH=$(CURDIR)/$(MOLECULE)/bin:$$PATH ansible-lint --offline --profile production

molecule: fleet-lint kafka-libs ## roll out on containers that boot (nspawn, wants root), count every line (ARGS="-s default")
	@scripts/machines.sh nspawn $(MOLECULE)/bin $(ARGS)

molecule-vm: fleet-lint kafka-libs ## the same on virtual machines (qemu): the release gate
	@scripts/machines.sh qemu $(MOLECULE)/bin $(ARGS)

clean: ## remove what make made in the tree; the cache outside of it stays
	rm -rf $(VENV) .cache .hypothesis .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
