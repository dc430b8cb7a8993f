# Paper Walkthroughs. Needs make, git and Python 3.11, 3.12 or 3.13; everything else goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help book pdf test smoke run new bench serve clean repository lint format install
.DELETE_ON_ERROR:

PY      := .venv/bin/python
PIP     := $(PY) -m pip --disable-pip-version-check -qq install --no-compile -c constraints.txt
PROFILE ?= quick
PORT    ?= 8000
# 3.13 comes last: DGL has no wheel for it.
PYTHONS := $(PYTHON) python3.12 python3.11 python3.13 python3
# With CHAPTER=name, `make test` leaves out what belongs to the other chapters alone.
SKIPPED  = $(if $(CHAPTER),$(filter-out %/test_$(CHAPTER).py,$(patsubst chapters/%.ipynb,--ignore=tests/test_%.py,$(wildcard chapters/*.ipynb))) --door $(CHAPTER))
SITE    := _build/html/index.html
SOURCES := $(wildcard *.md *.bib _*.yml chapters/*.ipynb data/*.* data/*/* utils/*.py utils/*/*.* utils/*/templates/* _static/*)

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s%s\n", $$1, $$2}'

book: $(SITE)  ## render the site into _build/html
	@echo "The book: _build/html/index.html (make serve shows it on http://127.0.0.1:$(PORT))"

test: .venv/full.stamp  ## unit tests, site tests, chapters against their stored outputs: all, or CHAPTER=gcn
	@$(PY) -m utils.tools.check --known $(CHAPTER)
	@failed=0; \
	$(PY) -m pytest tests $(SKIPPED) -n 2 --dist loadscope -q || failed=1; \
	$(PY) -m utils.tools.check $(CHAPTER) || failed=1; \
	exit $$failed

smoke: .venv/full.stamp  ## execute chapters with tiny settings, seconds each: all, or CHAPTER=gcn
	$(PY) -m utils.tools.check --smoke $(CHAPTER)

run: .venv/full.stamp  ## run a chapter and record it: make run CHAPTER=gcn PROFILE=full
	@test -n "$(CHAPTER)" || { echo "Which chapter? For example: make run CHAPTER=gcn PROFILE=full" >&2; exit 2; }
	$(PY) -m utils.tools.run $(CHAPTER) $(PROFILE) $(if $(JOBS),--jobs $(JOBS))

new: | .venv/bin/python  ## start a chapter, or list what it lacks: make new CHAPTER=name PART=Graphs
	@$(PY) -m utils.tools.new "$(CHAPTER)" "$(PART)"

bench: .venv/full.stamp  ## time the fast paths against the plain ones: make bench CHAPTER=gcn
	$(PY) -m utils.bench $(CHAPTER)

serve: $(SITE)  ## show the site on this machine: make serve PORT=8000
	@$(PY) -m utils.tools.serve "$(PORT)"

lint: .venv/full.stamp  ## check style of modules and notebooks, and types of modules
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

format: .venv/full.stamp  ## apply style to modules and notebooks
	$(PY) -m ruff check --fix . && $(PY) -m ruff format .

repository: | .venv/bin/python  ## set the public address: make repository NAME=owner/name
	@$(PY) -m utils.tools.repository "$(NAME)"

pdf: $(SITE) .venv/full.stamp  ## the book as one PDF, _build/paper-walkthroughs.pdf; needs Chromium
	$(PY) -m utils.tools.pdf

install: .venv/full.stamp  ## install everything without running anything

clean:  ## remove the built site and all caches, keep .venv
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# --all: an incremental build would not repeat the warnings of pages it skips.
$(SITE): .venv/site.stamp $(SOURCES)
	@rm -f $@
	$(PY) .venv/bin/jupyter-book build . --all -W -n --keep-going -q
	@touch $@

# The stamps are newer than the requirements they were made from: a second call installs nothing.
.venv/full.stamp: .venv/site.stamp requirements.txt requirements-chapters.txt
	@echo "Installing what the chapters need (a few minutes and several GB, once) ..."
	@$(PIP) -r requirements.txt
	@$(PY) -m utils.notebook.colab
	@touch $@

# The package itself is installed in place: `import utils` works from any folder and means this tree.
.venv/site.stamp: requirements-site.txt constraints.txt pyproject.toml | .venv/bin/python
	@echo "Installing what the site needs (a minute, once) ..."
	@$(PIP) -r requirements-site.txt
	@$(PIP) --no-deps -e .
	@touch $@

.venv/bin/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12), (3, 13)])' 2>/dev/null; then \
	    $$python -m venv --clear .venv || exit 1; \
	    exit 0; \
	  fi; \
	done; \
	echo "No suitable Python: this book needs Python 3.11, 3.12 or 3.13 with venv (tried: $(strip $(PYTHONS)))." >&2; exit 1
