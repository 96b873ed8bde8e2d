#!/bin/sh
# Checks and measurements on one GPU of 141 GB, in less than 8 minutes: benchmarks/gpu.sh [FILE]
# Writes FILE (gpu.json). XSTILTS_GPU_CHECK_DEVICE=cpu tries the programs without a GPU.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. exec "${PYTHON:-python}" -m benchmarks.gpu --json "${1:-gpu.json}"
