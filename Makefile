# ZeroCloud: `make demo` and `make test` do everything on a fresh machine.
# Each target sets up what it needs and can be run again at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || \
	command -v python3.13 || command -v python3)
ifeq ($(strip $(PYTHON)),)
$(error Python is missing: apt-get install python3.11 python3.11-venv)
endif
VENV := .venv/bin
RUN := $(VENV)/python

.PHONY: build demo test bench fuzz wheel cluster check clean help

help:
	@echo 'make build    runner, guests, images, virtual environment'
	@echo 'make demo     start a Swift cluster here, run three jobs, stop it'
	@echo 'make test     lint, types, unit, Rust and functional tests'
	@echo 'make bench    every benchmark; raw runs go to bench/results'
	@echo 'make fuzz     hostile bytes for the runner, SECONDS=60 per target'
	@echo 'make wheel    dist/*.whl and its source distribution'
	@echo 'make cluster  a cluster in ./build/cluster until Ctrl-C'
	@echo 'make clean    remove what was built here (not the user cache)'

build:
	@$(PYTHON) tools/setup

demo: build
	@$(VENV)/zerocloud demo

test:
	@$(PYTHON) tools/setup --dev
	@$(RUN) tools/check

check: test

bench: build
	@$(RUN) tools/bench all --json

fuzz:
	@$(PYTHON) tools/fuzz --seconds $(or $(SECONDS),60)

wheel:
	@$(PYTHON) tools/setup --dev
	@$(RUN) tools/build_wheel

cluster: build
	@$(VENV)/zerocloud cluster --dir build/cluster --mode process

clean:
	rm -rf build dist .venv zerocloud.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
