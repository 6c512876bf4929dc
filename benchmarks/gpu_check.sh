#!/usr/bin/env bash
# All that only a GPU can show, in one call of under 10 minutes: builds the extension for one architecture, runs the op tests on CUDA,
# measures the ops on generated frames, and runs part of the tests under compute-sanitizer. Needs python3 with torch and the packages of
# pyproject.toml, nvcc, cmake and ninja; no network. A tool that is absent or refused by the machine is reported as "not available" and fails nothing.
#
# Usage: benchmarks/gpu_check.sh [FOLDER]     writes FOLDER/gpu_check.txt and the logs (default: benchmarks/results)
#   GPU_ARCH=90       compute capability to build for
#   SANITIZE_S=40     seconds for each tool of compute-sanitizer
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
mkdir -p "$out"
summary=$out/gpu_check.txt
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
failed=0

say() { printf '%s\n' "$*" | tee -a "$summary"; }

# stage NAME LIMIT_S COMMAND...: one line in the summary, the output in a log of its own.
stage() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  timeout "$limit" "$@" >"$out/gpu_$name.log" 2>&1 || status=$?
  local last
  last=$(grep -E 'passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|Error' "$out/gpu_$name.log" | tail -n 1)
  if [ "$status" = 0 ]; then
    say "$name: ok in $((SECONDS - start)) s${last:+: $last}"
  else
    failed=1
    say "$name: FAILED with status $status after $((SECONDS - start)) s${last:+: $last} (gpu_$name.log)"
  fi
}

: >"$summary"
say "date: $(date -u +%FT%TZ)"
say "commit: $(git rev-parse --short HEAD 2>/dev/null || echo 'not available')"
say "gpu: $(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>/dev/null || echo 'not available')"
say "nvcc: $(nvcc --version 2>/dev/null | grep -o 'release [^,]*' || echo 'not available')"
say "torch: $(python3 -c 'import torch; print(torch.__version__, torch.version.cuda)' 2>/dev/null || echo 'not available')"

export ZOO_CUDA=1 ZOO_CUDA_ARCHS=${GPU_ARCH:-90} ZOO_BUILD_EXT=1 ZOO_WERROR=1 ZOO_REQUIRE_EXT=1 ZOO_REQUIRE_CUDA=1
stage build 150 python3 -m pip install -q --no-build-isolation --no-deps --no-index --target "$site" .
# Only `zoo` lies in $site; tests import it from there because the repository root is not on the path.
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1
tests() { python3 -m pytest -q -p no:cacheprovider --import-mode=importlib tests/ops tests/data/test_shuttle.py -k "cuda or pinned" "$@"; }
export -f tests
stage tests 120 bash -c tests
stage bench 150 env PYTHONPATH="$PYTHONPATH:$PWD/benchmarks" python3 benchmarks/bench_cuda.py --out "$out/cuda.json"

# Only the CUDA tests that read and write each kernel's borders; the whole suite takes too long under the tools.
sanitized="matches_reference or noncontiguous or empty"
for tool in memcheck racecheck initcheck; do
  if ! command -v compute-sanitizer >/dev/null 2>&1; then
    say "$tool: not available (no compute-sanitizer)"
    continue
  fi
  timeout "${SANITIZE_S:-40}" compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
    python3 -m pytest -q -x -p no:cacheprovider --import-mode=importlib tests/ops -k "cuda and ($sanitized)" >"$out/gpu_$tool.log" 2>&1
  status=$?
  case $status in
    0) say "$tool: ok: $(grep -E 'SUMMARY' "$out/gpu_$tool.log" | tail -n 1)" ;;
    9) failed=1; say "$tool: FAILED: $(grep -E 'SUMMARY' "$out/gpu_$tool.log" | tail -n 1) (gpu_$tool.log)" ;;
    *) say "$tool: not available (status $status: $(grep -iE 'error|not supported|denied|permission' "$out/gpu_$tool.log" | head -n 1))" ;;
  esac
done
exit "$failed"
