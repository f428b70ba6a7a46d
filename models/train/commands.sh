#!/bin/sh
# The two training runs of the committed files, one after the other; they may run at once on two cores.
# usage: sh models/train/commands.sh OUT [PYTHON]
set -eu
out=$1
python=${2:-python3}
here=$(dirname "$0")

# What made the recorded speed; the results do not depend on it. glibc: keep freed memory. OpenBLAS 0.3.21 does not know newer cores.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=268435456

"$python" "$here/train.py" --role slm --out "$out" --rate 2.5e-3 --smoothing 0.02 --exercises-until 1200 \
  --decay-start 2600 --decay-steps 1000

