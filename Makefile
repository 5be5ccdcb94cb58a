# Every target works alone and first: it installs what it needs. `make help` lists them.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
SPLEETER := .venv-spleeter
LAKE ?= data/lake
EVAL ?= $(or $(MIDIME_EVAL),../shared/eval)

# Packages of Debian, where root may install them.
APT := apt-get install -y -qq --no-install-recommends
get = { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { $(APT) $(1) >/dev/null 2>&1 || { apt-get update -qq && $(APT) $(1) >/dev/null; }; }; }

.PHONY: help install demo test docs-check postgresql browser lint reference scores programs bench bench-search bench-duplicates soak questions dictionary clean

help:
	@echo "make install   make the environment $(VENV) from requirements.lock"
	@echo "make demo      ingest data/sample, run nightly, search for a groove"
	@echo "make test      the linters and all tests"
	@echo "make docs-check  every shell line of README.md and docs/, run for real"
	@echo "make reference the separation against Spleeter 2.4.2 itself, in an environment of its own"
	@echo "make scores    accuracy over the evaluation sets in $(EVAL) (or MIDIME_EVAL)"
	@echo "make bench     speed, as ratios within one run"
	@echo "make bench-search  search at 10,000, 100,000 and 1,000,000 patterns, beside hnswlib and usearch"
	@echo "make bench-duplicates  the indexes of fingerprints at 10,000, 30,000 and 100,000 tracks"
	@echo "make soak      kills, full disks and broken files for an hour and a half; prints what was survived"
	@echo "make clean     remove the environment and the default lake"

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "MiDiMe needs Python 3.11: install it, or name it with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import chromaprint' 2>/dev/null \
		|| $(call get,libchromaprint1) \
		|| { echo "MiDiMe needs the library chromaprint: apt-get install libchromaprint1, dnf install libchromaprint or brew install chromaprint"; exit 1; }
	@touch $@

demo: install
	$(BIN)/midime ingest data/sample --lake $(LAKE)
	$(BIN)/midime nightly --lake $(LAKE)
	@echo "Which grooves are like a rock drummer's at 125 bpm?"
	@$(BIN)/midime search --lake $(LAKE) --min-similarity 0.4 --limit 5 "$$($(BIN)/midime sql --lake $(LAKE) --format csv \
		"SELECT pattern_id FROM patterns JOIN tracks USING (track_id) WHERE title = 'Rock groove at 125 bpm' AND instrument_type = 'drums'" | tail -n 1)"
	@echo "The lake lies in $(LAKE). Ask it more: $(BIN)/midime sql \"FROM songs\", $(BIN)/midime tables"

test: install lint browser
	$(BIN)/pytest

docs-check: install postgresql
	$(BIN)/pytest -m docs tests/test_docs_run.py

# The lines about a PostgreSQL catalogue need its server, and are skipped where there is none.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || $(call get,postgresql) \
		|| echo "There is no PostgreSQL: its lines in the docs are not run."

# The tests of the dashboard look at it in a real Chromium, and are skipped where there is none.
browser:
	@for name in chromium-headless-shell chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		$(call get,chromium-headless-shell fonts-liberation) \
		|| echo "There is no Chromium: the tests of the dashboard in a browser are skipped."

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

reference: install $(SPLEETER)/.installed
	$(BIN)/pytest tests/tasks/models/test_spleeter_itself.py --spleeter $(SPLEETER)/bin/python
	$(BIN)/python -m tests.benchmarks.bench_separation $(SPLEETER)/bin/python

$(SPLEETER)/.installed: tests/benchmarks/spleeter_reference/requirements.txt
	$(PYTHON) -m venv $(SPLEETER)
	$(SPLEETER)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

scores: install programs
	$(BIN)/python -m tests.accuracy $(EVAL)

# The evaluation sets make their files with these.
programs:
	@{ command -v ffmpeg && command -v sox && command -v fluidsynth; } >/dev/null \
		|| $(call get,ffmpeg sox fluidsynth timgm6mb-soundfont) \
		|| echo "There are not all of ffmpeg, sox and fluidsynth: what needs them is not measured."

bench: install
	$(BIN)/python -m tests.benchmarks

questions: install
	$(BIN)/python -m catalog.questions $(LAKE) > catalog/questions/README.md

bench-search: install
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]"
	$(BIN)/python -m tests.benchmarks.bench_search $(EVAL)/../train

bench-duplicates: install
	$(BIN)/python -m tests.benchmarks.bench_duplicates 10000 30000 100000

soak: install
	$(BIN)/python -m tests.faults

dictionary: install
	$(BIN)/python -m catalog.dictionary > catalog/dictionary.md

clean:
	rm -rf $(VENV) data/lake
