#!/usr/bin/env bash
# One GPU in at most 8 minutes: trains the mT5-small and mT5-base shapes and LoRA on 270 M weights beside a plain loop,
# writes titles, builds and searches a FAISS index, runs ZeRO-2 and ZeRO-3; ends with a table and gpu.json.
# It installs nothing: run `make install` first, with the GPU build of PyTorch; faiss-gpu and deepspeed if you have them.
#   scripts/bench/gpu.sh [--causal FILE.gguf] [--peak TFLOPS] [--out FILE.json]; without a GPU: --toy
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" "$root/scripts/bench.py" gpu "$@"
