# make demo, make test, make lint: each sets up .venv first, and needs only Python 3.10-3.13.
# PYTHON=python3.12 make test   uses another interpreter;  make clean   starts over.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes side by side: more than two cores need, because many tests wait for a process.
WORKERS ?= 4
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# No ROS traffic leaves this machine, and a sourced ROS does not leak into .venv.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
unexport PYTHONPATH AMENT_PREFIX_PATH RMW_IMPLEMENTATION
unexport FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE
ifdef AMENT_PREFIX_PATH
unexport LD_LIBRARY_PATH
endif

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.stamp-demo
	$(BIN)/hand-depth demo --out demo_out

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:dash -n $(WORKERS) --dist worksteal

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo_out build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BIN)/pip:
	@$(PYTHON) -m venv --help >/dev/null 2>&1 && $(PYTHON) -c "import ensurepip" || \
	  { echo "$(PYTHON) lacks venv: run  apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-demo: setup.py constraints.txt | $(BIN)/pip
	@echo "Setting up $(VENV) (once; a minute or two)"
	$(PIP) --editable '.[ros,bag]'
	@touch $@

$(VENV)/.stamp-test: setup.py constraints.txt | $(BIN)/pip
	@echo "Setting up $(VENV) for the tests (once; two minutes or so)"
	$(PIP) --editable '.[ros,bag,synth,train,view,test]'
	@touch $@ $(VENV)/.stamp-demo
