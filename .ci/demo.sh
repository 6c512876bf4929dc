#!/bin/sh
# Trains hrcn on the simulated sky, evaluates it on targets never trained on and on a shifted sky, and predicts single files.
# Usage: demo.sh BIN RUN
set -eu
zoo=$1/zoo run=$2
say() { printf '\n== %s\n' "$*"; }

say "The demo: about 10 minutes on 2 cores (2 to render the simulated sky once, 5 to train, the rest to evaluate). No downloads."
"$zoo" doctor | grep -E '^(compiled kernels|SIMD level|CUDA kernels|threads|bf16)' || true

say "zoo train --model hrcn --data simulated --output $run --force"
"$zoo" train --model hrcn --data simulated --output "$run" --force

say "zoo evaluate $run --min-lower 0.5      (test targets, never trained on; exits 5 unless the 95 % interval lies above 0.5)"
status=0
"$zoo" evaluate "$run" --min-lower 0.5 || status=$?

say "zoo evaluate $run --data simulated:shifted      (morphology, PSF, background and star density outside the training ranges)"
"$zoo" evaluate "$run" --data simulated:shifted

say "zoo data simulate $run/sky      (FITS files of another sky, as Hubble would write them)"
"$zoo" data simulate "$run/sky" --option seed=7 --option train=0 --option val=0 --option test=2 --option exposures=1

say "zoo predict $run $run/sky"
"$zoo" predict "$run" "$run/sky"

say "The run is in $run: model/ is all that prediction needs. Next: zoo predict $run YOUR.fits"
exit "$status"
