#!/usr/bin/env bash
# The compiled kernels under the sanitizers of g++: without Python under ThreadSanitizer, with each instruction set of this machine; and all
# tests of the ops and of FITS headers under AddressSanitizer and UndefinedBehaviorSanitizer.
# Usage: sanitize.sh PYTHON [PYTEST_ARG...]      PYTHON: an interpreter that has zoo's dependencies and build requirements
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
folder=$root/build/sanitize
export PATH=$(dirname "$python"):$PATH

# compile SANITIZER TARGET
compile() {
  cmake -S csrc -B "$folder/$1" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DPython_EXECUTABLE="$python" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DZOO_CUDA=0 -DZOO_WERROR=ON -DZOO_SANITIZE="$1" --log-level=WARNING
  cmake --build "$folder/$1" --target "$2"
}

compile thread threads_test
for level in plain avx2 avx512; do  # a level that the processor lacks becomes the best that it has
  ZOO_SIMD=$level TSAN_OPTIONS=halt_on_error=1 "$folder/thread/threads_test"
done

compile address _native
# The package as it is, but for its extension.
rm -rf "$folder/site"
mkdir -p "$folder/site/zoo"
find "$root/zoo" -mindepth 1 -maxdepth 1 ! -name '_native*.so' ! -name __pycache__ -exec ln -s {} "$folder/site/zoo/" \;
cp "$folder/address/_native.so" "$folder/site/zoo/"
# libstdc++ too: AddressSanitizer must find the function that throws before torch brings it.
preload=$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libstdc++.so)
# The interpreter and torch never give back all they took: no search for leaks. A frame too large for memory must raise MemoryError. Output of
# C++ is not captured: pytest would not outlive a fault to show it. One seed, so that a run can be repeated.
LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
  PYTHONPATH=$folder/site PYTHONSAFEPATH=1 ZOO_REQUIRE_EXT=1 \
  "$python" -m pytest -q -p no:cacheprovider --capture=sys --hypothesis-seed=0 tests/ops tests/frames/test_headers.py "$@"
