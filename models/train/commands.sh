#!/bin/sh
# The training runs of the committed files, one after the other; they may run at once.
# usage: sh models/train/commands.sh OUT [PYTHON]
set -eu
out=$1
python=${2:-python3}
here=$(dirname "$0")

# What made the recorded speed; the results do not depend on it. glibc: keep freed memory instead of giving it back.
# On an AVX-512 core that an old OpenBLAS does not know, OPENBLAS_CORETYPE=SKYLAKEX doubles the speed once more.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=268435456

"$python" "$here/train.py" --role slm --out "$out" --rate 2.5e-3 --smoothing 0.02 --exercises-until 1200 \
  --decay-start 2600 --decay-steps 1000

# Steps 0 to 1400, then with well-known words where no notes are given; the decay from step 2300 on.
"$python" "$here/train.py" --role llm --out "$out" --rate 1.5e-3 --smoothing 0.01 --exercises-until 800 --tokens 3072 \
  --steps 1400
mv "$out/llm-final.pt" "$out/llm-1400.pt"
"$python" "$here/train.py" --role llm --out "$out" --rate 1.5e-3 --smoothing 0.01 --exercises-until 800 --tokens 3072 \
  --ordinary-invented 0.7 --resume "$out/llm-1400.pt" --decay-start 2300 --decay-steps 1000

# The second SLM: the SLM's recipe with a vocabulary of its own, and fewer steps.
"$python" "$here/train_other.py" --role slm --out "$out/other" --rate 2.5e-3 --smoothing 0.02 --exercises-until 1200 \
  --decay-start 1800 --decay-steps 1000
