# Everything runs in .venv, made on the first call; uv is used when it is on PATH.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run in three lanes, side by side: the live ones wait more than they compute. `make test LANES=` runs them one by one.
# `make test SELECT='-k region'` runs some.
LANES := -n 3 --no-loadscope-reorder

.PHONY: demo test check bench conformance sample truth clean

demo: $(STAMP)
	$(BIN)/blackstart demo

test: $(STAMP)
	$(BIN)/pytest $(LANES) $(SELECT) --cells .cells.json

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q $(LANES) -m "not slow and not live and not browser"

conformance: $(STAMP)
	$(BIN)/pytest -q $(LANES) -m cell --cells .cells.json
	$(BIN)/python -m tests.cells write .cells.json

bench: $(STAMP)
	$(BIN)/python -m tests.bench

sample: $(STAMP)
	$(BIN)/python -m tests.sample

# Every drill on the healthy stack and every mutant on its drill, live: an hour and a half. Goes on where it was cut off.
truth: $(STAMP)
	$(BIN)/python -m tests.matrix $(TRUTH)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(STAMP): pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
	  uv pip install --quiet --python $(BIN)/python --editable . --group dev; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'; \
	  $(BIN)/python -m pip install --quiet --editable . --group dev; \
	fi
	@touch $@
