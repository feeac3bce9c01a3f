#!/usr/bin/env bash
# What only a GPU can say, the most telling first: bash scripts/gpu.sh TGS_SALT [CLONE_OF_MILESIAL] [MINUTES]
# It stops within MINUTES (10); the same command again goes on where it stopped. It needs neither a network nor W&B,
# only python3 with the packages of pip install -e ".[dev,peers]"; what a missing peer would show is left out.
# Answers: results/gpu/*.json and results.md, which fill the tables of docs/performance.md; --output DIR: elsewhere.
# --device cpu, or DEVICE=cpu, tries it with tiny settings. --isbi DIR adds the U-Net paper's 10,000 steps on ISBI 2012.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH=$root/src:$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -m benchmarks.gpu "$@"
