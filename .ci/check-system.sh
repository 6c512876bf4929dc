#!/bin/sh
# Says what an installation needs and will download, and stops with what to install when a part is missing.
# Usage: check-system.sh PYTHON VENV TORCH_INDEX
set -eu
python=$1 venv=$2 index=$3
missing=""

command -v "$python" >/dev/null 2>&1 || {
  echo "zoo: '$python' was not found. Debian/Ubuntu: sudo apt install python3 python3-venv python3-dev g++ make" >&2
  exit 2
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "zoo: $("$python" --version) is too old, 3.11 or later is needed; name another one: make demo PYTHON=python3.12" >&2
  exit 2
}
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
  missing="$missing python3-dev"
command -v g++ >/dev/null 2>&1 || command -v c++ >/dev/null 2>&1 || missing="$missing g++"
if [ -n "$missing" ]; then
  echo "zoo: missing:$missing. Debian/Ubuntu: sudo apt install$missing" >&2
  exit 2
fi

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  echo "zoo: $venv has torch already; it is kept if it is the pinned release."
else
  echo "zoo: installs into $venv: torch (the CPU build is a download of about 190 MB; the default build of PyPI on Linux brings CUDA"
  echo "     libraries of several GB), then about 100 MB of other packages, all pinned in constraints.txt."
  if [ -n "$index" ]; then
    echo "     torch comes from $index"
  else
    echo "     For the CPU build: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu"
  fi
fi
if command -v nvcc >/dev/null 2>&1 && [ "${ZOO_CUDA:-auto}" != 0 ]; then
  echo "zoo: builds the C++ and CUDA kernels (nvcc found; ZOO_CUDA=0 leaves CUDA out and takes about a minute)."
else
  echo "zoo: builds the C++ kernels, about a minute (no CUDA kernels: $([ "${ZOO_CUDA:-auto}" = 0 ] && echo 'ZOO_CUDA=0' || echo 'no nvcc'))."
fi
