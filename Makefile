# `make demo` sets everything up and shows that it works; `make test` runs every check. Both share .venv.
#
#   PYTHON=python3.12     the interpreter that .venv is made of
#   TORCH_INDEX=URL       package index for torch alone, such as https://download.pytorch.org/whl/cpu
#   DEMO_RUN=runs/demo    where the demo trains
#   FUZZ_SECONDS=60       how long `make fuzz` looks for FITS headers that break their parser

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_RUN ?= runs/demo
FUZZ_SECONDS ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test install lint types warnings pytest sanitize fuzz wheel wheel-test clean

demo: install
	@sh .ci/demo.sh "$(BIN)" "$(DEMO_RUN)"

test: lint types warnings pytest

install: $(VENV)/installed

# Python files are imported from the working tree: only the build and the dependencies make a new installation necessary.
$(VENV)/installed: pyproject.toml setup.py constraints.txt $(wildcard csrc/*)
	@sh .ci/check-system.sh "$(PYTHON)" "$(VENV)" "$(TORCH_INDEX)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy -p zoo

# The C++ sources once more with warnings as errors, in a folder of their own so that the installed build stays as it is.
warnings: install
	$(BIN)/cmake -S csrc -B build/warnings -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_BUILD_TYPE=Release \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) \
	  -DZOO_CUDA=0 -DZOO_WERROR=ON --log-level=WARNING
	$(BIN)/cmake --build build/warnings

pytest: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The op tests under AddressSanitizer and UndefinedBehaviorSanitizer, the kernels on several threads under ThreadSanitizer.
sanitize: install
	.ci/sanitize.sh $(BIN)/python

fuzz: install
	tests/fuzz/run.sh $(BIN)/python $(FUZZ_SECONDS)

wheel: install
	$(BIN)/python -m build

# sdist, wheel from it, a fresh environment with the wheel, and the example plugin beside it.
wheel-test: install
	.ci/wheel.sh $(BIN)/python

clean:
	rm -rf build dist *.egg-info zoo/_native*.so zoo/_native_failure.txt .pytest_cache .mypy_cache .ruff_cache
