#!/bin/sh
# Fuzzes the parser of FITS headers under AddressSanitizer and UndefinedBehaviorSanitizer of g++. Starts from the small files of the hostile
# corpus and from what earlier runs found worth keeping in build/fuzz/corpus.
# Usage: run.sh PYTHON [SECONDS]      PYTHON: an interpreter that has zoo; exits 1 at a fault, whose input is in build/fuzz
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$1 seconds=${2:-60}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
mkdir -p "$root/build/fuzz/corpus" "$root/build/fuzz/seeds"
cd "$root/build/fuzz"

PYTHONPATH=$root "$python" "$root/tests/frames/hostile.py" seeds

sanitize="-fsanitize=address,undefined"
rm -f ./*.o
g++ -std=c++17 -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all -fsanitize-coverage=trace-pc $sanitize -DZOO_ISA=plain \
  -I"$root/csrc" -c "$root/tests/fuzz/target.cpp" "$root"/csrc/fits_*.cpp
g++ -std=c++17 -O2 -Wall -Wextra -c "$root/tests/fuzz/mutate.cpp"
g++ $sanitize ./*.o -o fits_header_fuzz
export UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1  # a signal is what makes the driver write the input down
exec ./fits_header_fuzz "$seconds" corpus seeds
