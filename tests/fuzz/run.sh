#!/bin/sh
# Fuzzes the parser of FITS headers under AddressSanitizer and UndefinedBehaviorSanitizer: by libFuzzer where clang++ has it, else by mutate.cpp
# and g++. Then zoo.read_frames for a quarter of the time. Starts from the small files of the hostile corpus and from what earlier runs found
# worth keeping in build/fuzz.
# Usage: run.sh PYTHON [SECONDS [g++|clang++]]      PYTHON: an interpreter that has zoo; exits 1 at a fault, whose input is in build/fuzz
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$1 seconds=${2:-60} compiler=${3:-}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
mkdir -p "$root/build/fuzz/corpus" "$root/build/fuzz/frames" "$root/build/fuzz/seeds"
cd "$root/build/fuzz"

PYTHONPATH=$root "$python" "$root/tests/frames/hostile.py" seeds

native=$((seconds * 3 / 4))
flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all -DZOO_ISA=plain"
set -- -I"$root/csrc" "$root/tests/fuzz/target.cpp" "$root"/csrc/fits_*.cpp
export UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1  # a signal is what makes the driver write the input down
rm -f ./*.o

# clang++ may be there without its run-time libraries, so what tells is whether it links.
if [ "$compiler" != g++ ] && clang++ $flags -fsanitize=fuzzer,address,undefined "$@" -o fits_header_libfuzzer 2>libfuzzer.log; then
  echo "libFuzzer of $(clang++ --version | head -n 1)"
  ./fits_header_libfuzzer -max_total_time="$native" -max_len=34560 -print_final_stats=1 -artifact_prefix=crash- -verbosity=0 corpus seeds
elif [ "$compiler" = clang++ ]; then
  cat libfuzzer.log >&2
  exit 2
else
  echo "tests/fuzz/mutate.cpp with $(g++ --version | head -n 1)"
  sanitize="-fsanitize=address,undefined"
  g++ $flags -fsanitize-coverage=trace-pc $sanitize -c "$@"
  g++ -std=c++17 -O2 -Wall -Wextra -c "$root/tests/fuzz/mutate.cpp"
  g++ $sanitize ./*.o -o fits_header_fuzz
  ./fits_header_fuzz "$native" corpus seeds
fi
unset UBSAN_OPTIONS
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "$python" "$root/tests/fuzz/read_frames.py" $((seconds - native)) frames seeds
