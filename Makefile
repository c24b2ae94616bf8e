# Each target does everything that a fresh machine needs. Windows and other shells: see README.md for the pip lines.
.PHONY: demo test lint setup screenshot clean

PYTHON ?= python3
export PYTHON
BIN := .venv/bin

demo:
	scripts/setup.sh all
	$(BIN)/kinefuse demo $(ARGS)

test:
	scripts/setup.sh all,dev,learning,raw-radar
	$(MAKE) --no-print-directory lint
	-$(BIN)/kinefuse models get blazepose-full
	# Products of small matrices are many times slower in several threads, as the nodes know too.
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup:
	scripts/setup.sh all,dev,learning,raw-radar

screenshot:
	scripts/screenshot.sh

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
