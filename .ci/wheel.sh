#!/usr/bin/env bash
# Builds the sdist, from it the wheel, installs that into a fresh environment and uses it there as a user would, outside the source tree.
# Usage: wheel.sh PYTHON      an interpreter that has zoo's dependencies and build requirements
#
# One compilation proves both archives, and nothing is downloaded: the fresh environment sees exactly the distributions that the wheel
# declares to need, as links to those of PYTHON, and pip resolves against them without an index. Set ZOO_CUDA=auto to build the CUDA kernels.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
source=$work/source dist=$work/dist elsewhere=$work/elsewhere
mkdir "$source" "$dist" "$elsewhere" "$work/home"
export ZOO_BUILD_EXT=1 ZOO_CUDA=${ZOO_CUDA:-0} PIP_DISABLE_PIP_VERSION_CHECK=1

stages=()
stage() {
  local name=$1 start=$SECONDS
  shift
  "$@"
  stages+=("$(printf '%5d s  wheel: %s' $((SECONDS - start)) "$name")")
}
finish() {
  printf '%s\n' "${stages[@]}"
  rm -rf "$work"
}
trap finish EXIT
fail() {
  echo "wheel.sh: $*" >&2
  exit 1
}
# expect WHAT EXPECTED GOT
expect() { [ "$2" = "$3" ] || fail "$1: got '$3', expected '$2'"; }

# A copy, because setuptools writes into the tree that it builds.
build_sdist() {
  tar -C "$root" --exclude=./.git --exclude=./.venv --exclude=./build --exclude=./dist --exclude=./runs --exclude='*.egg-info' \
    --exclude='__pycache__' --exclude='*.so' --exclude='./.*_cache' -cf - . | tar -C "$source" -xf -
  "$python" -m build --no-isolation --skip-dependency-check --sdist --outdir "$dist" "$source" >"$work/sdist.log" 2>&1 ||
    { cat "$work/sdist.log" >&2; fail "the sdist was not built"; }
}
build_wheel() {
  "$python" -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir "$dist" "$dist"/celestial_zoo-*.tar.gz
}

installed() { find "$site" -mindepth 1 -maxdepth 1 ! -name dependencies.pth -printf '%f\n' | LC_ALL=C sort | tr '\n' ' '; }
pip_install() { "$python" -m pip --python "$env/bin/python" install --quiet --no-compile --no-index "$@"; }
make_environment() {
  "$python" "$root/.ci/link_dependencies.py" "$wheel" "$work/dependencies"
  "$python" -m venv --without-pip "$env"
  site=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$work/dependencies" >"$site/dependencies.pth"
  pip_install "$wheel"
  expect "site-packages" "celestial_zoo-$version.dist-info zoo " "$(installed)"
}

# The installed commands, with nothing of the caller's environment.
inside() {
  (cd "$elsewhere" && env -i PATH="$env/bin:/usr/bin:/bin" HOME="$work/home" ZOO_CACHE="$work/cache" ZOO_REQUIRE_EXT=1 "$@")
}
# lines PATTERN COMMAND...: how many lines of its output hold the pattern
lines() {
  local pattern=$1 output
  shift
  output=$(inside "$@") || fail "'$*' failed"
  grep -c -- "$pattern" <<<"$output" || true
}
use_alone() {
  inside zoo --help >/dev/null
  inside python -m zoo --help >/dev/null
  expect "zoo --version" "zoo $version" "$(inside zoo --version)"
  expect "hrcn in zoo models list" 1 "$(lines '^hrcn	zoo	' zoo models list)"
  expect "normalize in zoo steps list" 1 "$(lines '^normalize	' zoo steps list)"
  expect "compiled kernels in zoo doctor" 1 "$(lines "^compiled kernels	ok	$site/zoo/_native" zoo doctor)"
  inside zoo data simulate sky --option train=0 --option val=0 --option test=1 --option exposures=1 >/dev/null
}
# install_plugin FOLDER: build it with the tools of PYTHON, install it into the fresh environment.
install_plugin() {
  "$python" -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir "$work/plugins" "$1"
  pip_install "$work/plugins/$(basename "$1" | tr - _)"-*.whl
}
use_with_plugin() {
  cp -R "$source/tests/example_plugin" "$work/zoo-tinynet"
  install_plugin "$work/zoo-tinynet"
  expect "site-packages" "celestial_zoo-$version.dist-info zoo zoo_tinynet zoo_tinynet-0.1.dist-info " "$(installed)"
  expect "tinynet in zoo plugins list" 1 "$(lines '^tinynet	.*loaded' zoo plugins list)"
  expect "tinynet in zoo models list" 1 "$(lines '^tinynet	tinynet	' zoo models list)"
  inside zoo train --model tinynet --model-option width=4 --data simulated --data-option train=2 --data-option val=1 \
    --data-option test=2 --data-option exposures=1 --step overscan --step destripe --step resize:factor=8 --step normalize \
    --epochs 1 --batch-size 4 --output run >/dev/null 2>"$work/train.log" || { cat "$work/train.log" >&2; fail "zoo train failed"; }
  expect "accuracy of zoo evaluate" 1 "$(lines '^accuracy	' zoo evaluate run)"
  cp -R "$elsewhere/run" "$elsewhere/copy"
  expect "verdict of zoo compare" 1 "$(lines '^# run and copy call every frame alike' zoo compare run copy)"
  local files frames status=0
  files=$(find "$elsewhere/sky" -name '*.fits' | wc -l)
  [ "$files" -gt 0 ] || fail "zoo data simulate wrote no FITS file"
  inside zoo predict run sky -o rows.csv
  frames=$(tail -n +2 "$elsewhere/rows.csv" | grep -c ',ok,')
  [ "$frames" -ge "$files" ] || fail "zoo predict: got $frames classified frames of $files files"
  inside zoo predict run sky -o rows.parquet 2>"$work/parquet.log" || status=$?
  expect "exit status of zoo predict -o rows.parquet without the extra" 2 "$status"
  grep -q "celestial-zoo\[parquet\]" "$work/parquet.log" || fail "zoo predict -o rows.parquet names no extra: $(cat "$work/parquet.log")"
}
use_new_plugin() {
  inside zoo plugins new othernet >/dev/null
  install_plugin "$elsewhere/zoo-othernet"
  expect "othernet in zoo models list" 1 "$(lines '^othernet	othernet	' zoo models list)"
  inside zoo plugins check othernet >"$work/check.log" 2>&1 || { cat "$work/check.log" >&2; fail "zoo plugins check failed"; }
}

stage "sdist" build_sdist
stage "wheel from the sdist" build_wheel
wheel=$(echo "$dist"/celestial_zoo-*.whl)
version=$(basename "$wheel" | cut -d- -f2)
env=$work/env
stage "fresh environment" make_environment
stage "commands in it" use_alone
stage "example plugin beside it" use_with_plugin
stage "new plugin beside both" use_new_plugin
echo "wheel.sh: $(basename "$wheel") works where only zoo is installed, and with plugins beside it"
