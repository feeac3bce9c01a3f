#!/usr/bin/env bash
# All that wants a GPU, in order: bash scripts/gpu.sh TGS_SALT [CLONE_OF_MILESIAL]. May be interrupted and started again: what is
# done is not done twice, and trainings go on where they were. Results: benchmark/gpu-*.json, runs/gpu-*/summary.json.
set -euo pipefail
data=${1:?the folder with train.zip or train/, and train.csv of TGS Salt}
milesial=${2:+--milesial $2}
cd "$(dirname "$0")/.."

ask() { # QUESTION OPTIONS...: a benchmark on the GPU, unless its answer is there
    local answer=benchmark/gpu-$1.json
    [ -f "$answer" ] || python scripts/benchmark.py "$1" --device cuda --output "$answer" "${@:2}"
}
train() { # EXPERIMENT EPOCHS OPTIONS...: all five folds, pairs and augmentation on the device, the step as a CUDA graph
    python scripts/cross_validate.py experiment="$1" data.root="$data" trainer.max_epochs="$2" \
        data.resident=true trainer.compile=reduce-overhead trainer.check_val_every_n_epoch=20 \
        hydra.run.dir=runs/gpu-"$1" "${@:3}"
}

[ -f benchmark/gpu-tests.txt ] || { mkdir -p benchmark && pytest -m gpu -n 0 | tee benchmark/gpu-tests.part && mv benchmark/gpu-tests.{part,txt}; }
ask quality --data "$data"
ask augment
ask step $milesial
ask memory
ask predict --section 2048 8192
ask epoch --data "$data" --images 2560 $milesial
train tgs_small 400
train tgs_base 400
train tgs_best 400
