# The commands of the course. `make` alone lists them. Works with GNU Make 3.81 (macOS) and newer.
#   make course VENV=/elsewhere/.venv BUILD=/elsewhere/build    for a read-only checkout
#   make course PYTHON=python3.12                               for another Python

VENV ?= .venv
BUILD ?= build
GRADES ?= $(BUILD)/grades
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)
RUN := "$(VENV)/bin/python"
# An environment of another Python is as good, unless somebody names one.
SETUP = "$(PYTHON)" tools/setup_env.py --venv "$(VENV)" $(if $(filter file,$(origin PYTHON)),,--this-python)
ADD_SITE = $(SETUP) --extra site
NOTEBOOKS ?=
VARIANT ?=
ASSIGNMENT ?=
WORKERS ?= 2
SCHEDULER ?=
LABS ?=
BUDGETS ?=
DATASETS ?=
SEEDS ?=
DEVICE ?=
PAPERS ?=
SIGN ?=
FORGET ?=
BESIDE ?=
PYODIDE ?=
SANDBOX ?= bwrap
# make and the shell would read these signs in a path as something else, and write to another place.
SIGNS := $$ " `
$(foreach name,VENV BUILD GRADES SUBMISSIONS PYTHON,$(if $(filter command environment,$(origin $(name))),\
	$(foreach sign,$(SIGNS),$(if $(findstring $(sign),$(value $(name))),\
	$(error $(name): expected a path without any of $(SIGNS), got $(value $(name)): rename the folder, or choose another)))))
# Inside a container one is often root, which JupyterLab refuses unless told.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)
LAB_ARGS ?=
FIRST = notebooks/01_input_standardization.ipynb

# One thread per process: two processes of two threads on two cores spin against each other.
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0
# Several checkouts may share an environment: the helpers are those of this one.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env course labs evidence papers lab lecture test test-labs check notebooks readme homework student grade gradescope site slides pdf lite test-browser bench lock clean

help:  ## list the commands
	@echo "make <command>, in this folder:"
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

env:  ## make the environment (most commands do it when needed)
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "setup: No $(PYTHON) was found: install Python 3.11 or newer, or name yours with PYTHON=/path/to/python3." >&2; exit 1; }
	@$(SETUP)

course: env  ## execute the lessons and leave copies, HTML and times in build/course
	@$(RUN) tools/course.py --out "$(BUILD)/course" $(NOTEBOOKS)

labs: env  ## execute the labs, the experiments of the lessons, in the same way, in build/labs
	@$(RUN) tools/course.py --labs --out "$(BUILD)/labs" $(NOTEBOOKS)

# SEEDS=16, BUDGETS="1 4", DATASETS="digits mnist_5k", LABS="01 02" choose; SIGN=1 renews fingerprints, DEVICE=cuda uses a
# GPU, SCHEDULER=tcp://host:8786 a cluster of dask.distributed.
evidence: env  ## the long run: every experiment of the labs, all seeds, into data/evidence.json; it can be interrupted
	@$(RUN) tools/evidence.py --labs "$(LABS)" --budgets "$(BUDGETS)" --datasets "$(DATASETS)" --workers "$(WORKERS)" \
		$(if $(SEEDS),--seeds "$(SEEDS)") $(if $(SCHEDULER),--scheduler "$(SCHEDULER)") $(if $(DEVICE),--device "$(DEVICE)") \
		$(if $(SIGN),--sign) $(if $(FORGET),--forget "$(FORGET)")

# Lab 09 reads what it measured. PAPERS="1 3" chooses, DEVICE=cuda uses a GPU.
papers: env  ## three papers at their own scale, on all of MNIST, into data/papers.json; it can be interrupted
	@$(RUN) tools/papers.py --papers "$(PAPERS)" --workers "$(WORKERS)" --build "$(BUILD)" $(if $(DEVICE),--device "$(DEVICE)")

# tools/lab has settings: without them a notice about Jupyter news covers the code.
lab: env  ## open JupyterLab at lesson 01
	@$(RUN) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/$(FIRST) \
		--LabApp.app_settings_dir="$(CURDIR)/tools/lab" \
		--LanguageServerManager.autodetect=False $(AS_ROOT) $(LAB_ARGS)

# For a projector: tools/lecture has the settings. The times of slow cells are those of make course on this machine.
lecture: env  ## lessons without outputs in large letters, with a bar while a slow cell runs
	@test -e "$(BUILD)/course/timings.json" || $(MAKE) --no-print-directory course || true
	@session=$$(mktemp -d) && trap 'rm -rf "$$session"' EXIT && trap 'exit 130' INT TERM && \
		$(RUN) tools/lecture.py --build "$(BUILD)" --session "$$session" && \
		IPYTHONDIR="$$session/ipython" LECTURE_SECONDS="$$session/seconds.json" \
		JUPYTERLAB_SETTINGS_DIR="$$session/settings" JUPYTERLAB_WORKSPACES_DIR="$$session/workspaces" \
		JUPYTER_CONFIG_PATH="$${JUPYTER_CONFIG_DIR:-$$HOME/.jupyter}" JUPYTER_CONFIG_DIR="$$session/config" \
		$(RUN) -m jupyterlab --custom-css --ServerApp.root_dir="$$(cd "$(BUILD)/lecture" && pwd)" \
		--LabApp.default_url=/doc/tree/$(FIRST) --LabApp.app_settings_dir="$(CURDIR)/tools/lecture" \
		--LanguageServerManager.autodetect=False $(AS_ROOT) $(LAB_ARGS)

# What students get has no tests.
WITH_TESTS = @test -d tests || { echo "$@: expected the folder tests, found none. Is this a student's copy? It runs make course, make labs and make lab." >&2; exit 2; }
# The tools of the tests keep their caches beside the files that they look at.
WRITABLE = @test -w . || { echo "$@: expected a checkout that can be written, for the caches of the tests; got one that cannot: run it in a copy of the course." >&2; exit 2; }
# Two runs at once would mix their counts in one file.
OWN_COUNTS = folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && trap 'exit 130' INT TERM && COVERAGE_FILE="$$folder/counts"

test: env  ## lint, unit tests with coverage, the lessons against their stored outputs
	$(WITH_TESTS)
	$(WRITABLE)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(OWN_COUNTS) $(RUN) -m pytest tests utils --cov=utils --cov-report=term-missing:skip-covered --cov-fail-under=95
	$(RUN) -m pytest notebooks --ignore=notebooks/labs

test-labs: env  ## the labs against their stored cards and outputs; CI runs this after make test
	$(WITH_TESTS)
	$(WRITABLE)
	$(RUN) -m pytest notebooks/labs

check: env  ## the quick part of test: lint and notebook hygiene, no notebook is executed
	$(WITH_TESTS)
	$(WRITABLE)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m pytest tests/test_notebooks.py tests/test_coverage.py tests/test_project.py tests/test_docstrings.py \
		tests/test_front_pages.py

notebooks: env  ## re-execute lessons and labs in place and normalize them (NOTEBOOKS="notebooks/01*.ipynb" chooses)
	@$(RUN) tools/notebooks.py $(NOTEBOOKS)
	@$(RUN) tools/readme.py

readme: env  ## write the table of README.md and notebooks/labs/VERDICTS.md
	@$(RUN) tools/readme.py

homework: env  ## write the homework of a class (VARIANT=2027): sources with solutions, and what students get
	@$(RUN) tools/release.py $(if $(VARIANT),--variant "$(VARIANT)")

student: env  ## make or update the students' repository, without solutions (REPO=../course-2027, VARIANT, ADDRESS)
	@test -n "$(REPO)" || { echo "student: expected REPO=folder, which is new or was made by this command; got none" >&2; exit 2; }
	@$(RUN) tools/student.py "$(REPO)" $(if $(VARIANT),--variant "$(VARIANT)") $(if $(ADDRESS),--address "$(ADDRESS)")

grade: env  ## grade a folder or a zip of submissions (SUBMISSIONS=folder), into GRADES=../grades-2027, else build/grades
	@test -n "$(SUBMISSIONS)" || { echo "grade: expected SUBMISSIONS=folder, or a zip from Moodle, Canvas or Gradescope; got none" >&2; exit 2; }
	@SANDBOX="$(SANDBOX)" $(RUN) -m homework.grading "$(SUBMISSIONS)" --out "$(GRADES)/{assignment}" --workers "$(WORKERS)" \
		$(if $(ASSIGNMENT),--assignment "$(ASSIGNMENT)") $(if $(VARIANT),--variant "$(VARIANT)") $(if $(SCHEDULER),--scheduler "$(SCHEDULER)") \
		$(if $(ROSTER),--roster "$(ROSTER)") $(if $(DEADLINE),--deadline "$(DEADLINE)") $(if $(ALLOWANCES),--allowances "$(ALLOWANCES)")

gradescope: env  ## an autograder for Gradescope (HW=hw03, VARIANT=2027), in build/gradescope
	@test -n "$(HW)" || { echo "gradescope: expected HW=hw03, or another assignment; got none" >&2; exit 2; }
	@$(RUN) tools/gradescope.py "$(HW)" $(if $(VARIANT),--variant "$(VARIANT)") --out "$(BUILD)/gradescope"

# BESIDE="slides pdf lite" links on the landing page what will be published beside the site.
site: env  ## the course as a web site, in build/site; nothing is executed
	@$(ADD_SITE)
	@$(RUN) tools/site.py --build "$(BUILD)" --beside "$(BESIDE)"

slides: env  ## a deck of slides for each lesson, in build/slides
	@$(ADD_SITE)
	@$(RUN) tools/slides.py --build "$(BUILD)"

pdf: env  ## all lessons as one PDF, in build/pdf, printed by Chromium from what make site built
	@$(ADD_SITE)
	@$(RUN) tools/pdf.py --build "$(BUILD)"

# PYODIDE=folder lays an unpacked Pyodide into the result, which then loads nothing from elsewhere.
lite: env  ## lessons 01 to 03 for the browser, without an installation, in build/lite
	@$(SETUP) --extra lite
	@$(RUN) tools/lite.py --build "$(BUILD)" $(if $(PYODIDE),--pyodide "$(PYODIDE)")

test-browser:  ## site, slides and JupyterLab in Chromium; installs nothing and says what is missing
	@test -x $(RUN) || { echo "test-browser: expected the environment in $(VENV), found none: run make site slides first." >&2; exit 2; }
	@BUILD="$(BUILD)" $(RUN) -m pytest tests/browser -n 0

bench: env  ## our batch norm against PyTorch's, replicas against a plain loop, as ratios, in build/bench.json
	@$(RUN) tools/bench.py --out "$(BUILD)/bench.json"

lock: env  ## make requirements.txt (exact versions) from pyproject.toml
	$(WRITABLE)
	@$(RUN) -m pip install -q uv
	$(RUN) -m uv pip compile --quiet --universal --fork-strategy fewest --no-header --no-annotate --upgrade \
		--excludes tools/lock/excludes.txt -c tools/lock/pins.txt pyproject.toml \
		--extra lessons --extra lab --extra run --extra grading --extra test --extra site --extra lite -o requirements.txt

clean:  ## remove results and caches that these commands made (not grades, not the environment)
	@"$(PYTHON)" -B tools/clean.py --build "$(BUILD)" --grades "$(GRADES)"
