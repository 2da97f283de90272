# `make help` tells the targets. Everything runs in .venv, which `make dev` (a part of all others) creates;
# what the machine must have for that is checked, and named with its remedy, by .ci/venv.

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
JOBS  ?= 2
ARGS  ?=

C_FILES = $(wildcard $(patsubst %,csrc/%/*.c,base wire route meter plane)) # the tests: csrc/Makefile
C_WARN  = -std=c11 -D_GNU_SOURCE= -Wall -Wextra -Wconversion -Werror -Icsrc/include
SAN     = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g

.DEFAULT_GOAL := help
.PHONY: help dev build controlplane test test-all test-vllm check gates bench bench-proxy bench-routing bench-metering bench-kube bench-operator bench-page bench-external bench-quality bench-quality-full demo csan csan-serve ctsan coom cfuzz clean

help: ## tell the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: $(STAMP) ## create .venv with the pinned requirements
$(STAMP): requirements-dev.lock pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	@touch $@

build: dev ## compile the extensions in place (GROVE_DP_DEBUG=1: asserts and line tracing)
	@echo "==> building the extensions"
	@$(PY) setup.py -q build_ext --inplace

test: build ## run every test that this machine can run
	@echo "==> C tests"
	@$(MAKE) --no-print-directory -C csrc test
	@echo "==> C tests and fuzzing under the address and undefined-behaviour sanitizers"
	@$(MAKE) --no-print-directory -C csrc csan
	@echo "==> C tests under the thread sanitizer"
	@$(MAKE) --no-print-directory -C csrc tsan
	@echo "==> Python tests"
	@$(PY) -m pytest -n $(JOBS) -m "not soak and not vllm" $(ARGS)
	@echo "==> soak"
	@$(PY) -m pytest -m soak $(ARGS)
	@echo
	@echo "LEFT OUT, on purpose:"
	@echo "  real vLLM workers on CPU     0.9 GB of downloads; run: make test-vllm"
	@echo "  longer fuzzing and soaking   take their time; run: make test-all"
	@echo "(tests left out because a program is missing are listed above as SKIPPED, with the remedy)"

test-all: test cfuzz ## make test, longer fuzzing, and a soak of ten times the length
	@GROVE_DP_SOAK_REQUESTS=600000 $(PY) -m pytest -m soak --timeout 3600 $(ARGS)

test-vllm: build ## run against two real vLLM workers on CPU (downloads 0.9 GB once)
	@$(PY) -m pytest -m vllm --timeout 1800 -s $(ARGS)

check: build ## lint, types, layers, C warnings
	@echo "==> ruff"
	@$(VENV)/bin/ruff format --check --quiet --output-format concise . || { echo "run: $(VENV)/bin/ruff format ."; exit 1; }
	@$(VENV)/bin/ruff check --quiet --output-format concise .
	@echo "==> mypy"
	@$(VENV)/bin/mypy
	@echo "==> import layers"
	@$(VENV)/bin/lint-imports --no-cache
	@echo "==> cython-lint"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint grove_dp
	@echo "==> C warnings"
	@printf '%s\n' $(C_FILES) | xargs -P $(JOBS) -n 1 $(CC) -fsyntax-only $(C_WARN)

controlplane: dev ## build the Kubernetes control plane that tests use, once (eight minutes; needs Go 1.26)
	@$(PY) -m grove_dp.testing.controlplane --build

gates: build ## micro-benchmarks against their committed budgets
	@$(PY) -m pytest bench/micro --gate -q $(ARGS)

bench: build ## every benchmark, with figures and charts in bench/results/
	@$(PY) -m pytest bench/micro -q
	@$(PY) -m bench.proxy
	@$(PY) -m bench.routing
	@$(PY) -m bench.metering

bench-proxy: build ## CPU, latency and memory against nginx and aiohttp, in the same run
	@$(PY) -m bench.proxy $(ARGS)

bench-routing: build ## what routing by KV cache costs: index, events, books, a whole request with exact tokens
	@$(PY) -m bench.routing $(ARGS)

bench-metering: build ## what metering costs: observations, windowed quantiles, the page, beside prometheus-client
	@$(PY) -m bench.metering $(ARGS)

bench-page: build ## a frontend under load, drawn from its /metrics alone (bench/results/page.svg)
	@$(PY) -m bench.page $(ARGS)

bench-external: build ## latency of the metrics adapter's port, beside a bare aiohttp port
	@$(PY) -m bench.external.latency $(ARGS)

bench-kube: build ## the Kubernetes layer on the real control plane, beside the kubernetes package
	@$(PY) -m bench.kube $(ARGS)

bench-operator: build ## the operator on the real control plane: how soon pods run, and what that costs
	@$(PY) -m bench.operator $(ARGS)

bench-quality: dev ## every routing policy in virtual time, 8 workers, 80 and 95 % load: who answers soonest
	@$(PY) -m bench.quality --gate $(ARGS)

bench-quality-full: dev ## the same with 8 and 64 workers from 50 to 110 % load (an hour)
	@$(PY) -m bench.quality --full $(ARGS)

demo: build ## see it work: routing by KV cache, a killed worker, then the whole system under a rush
	@$(VENV)/bin/grove-dp demo $(ARGS)

csan: ## C tests under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory -C csrc csan

csan-serve: dev ## the black-box tests with the core under ASan and UBSan (but for the one that measures memory)
	@echo "==> building the extensions with the sanitizers"
	@CFLAGS="$(SAN)" LDFLAGS="$(SAN)" $(PY) setup.py -q build_ext --inplace --force
	@LD_PRELOAD="$(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
	    $(PY) -m pytest tests/frontend --timeout 600 -k "not little_memory" $(ARGS); rc=$$?; \
	    $(PY) setup.py -q build_ext --inplace --force; exit $$rc

ctsan: ## C tests under the thread sanitizer
	@$(MAKE) --no-print-directory -C csrc tsan

coom: ## C tests with every allocation failing once
	@$(MAKE) --no-print-directory -C csrc coom

cfuzz: ## a bounded run of the C fuzz targets
	@$(MAKE) --no-print-directory -C csrc cfuzz

clean: ## remove what was built, but not .venv
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	@find grove_dp -name '*.so' -delete
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
	@if [ -f csrc/Makefile ]; then $(MAKE) --no-print-directory -C csrc clean; fi
