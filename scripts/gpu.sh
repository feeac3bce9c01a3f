#!/usr/bin/env bash
# Everything that needs a GPU, in order: pip install -e ".[dev,peers]" && bash scripts/gpu.sh TGS_SALT CLONE_OF_MILESIAL
# It can be interrupted and started again: finished parts are not repeated, and trainings are resumed.
# Results: benchmark/gpu-*.json, runs/gpu-*/summary.json.
set -euo pipefail
data=$(realpath "${1:?the folder with train.zip or train/, and train.csv of TGS Salt}")
milesial=$(realpath "${2:?a clone of github.com/milesial/Pytorch-UNet}")
cd "$(dirname "$0")/.."
python -c "import unetkit, pytest, monai, kornia, elasticdeform" || { echo 'pip install -e ".[dev,peers]" first'; exit 1; }

ask() { # NAME QUESTION OPTIONS...: a benchmark on the GPU, unless its answer is there
    local answer=benchmark/gpu-$1.json
    [ -f "$answer" ] || python scripts/benchmark.py "$2" --device cuda --output "$answer" "${@:3}"
}
train() { # NAME EXPERIMENT EPOCHS OPTIONS...: all five folds, pairs and augmentation on the device, the step as a CUDA graph
    python scripts/cross_validate.py experiment="$2" data.root="$data" trainer.max_epochs="$3" \
        data.cache_on_device=true trainer.compile=reduce-overhead trainer.check_val_every_n_epoch=20 \
        hydra.run.dir=runs/gpu-"$1" "${@:4}"
}

mkdir -p benchmark
if ! [ -f benchmark/gpu-tests.txt ]; then
    pytest -m gpu -n 0 | tee benchmark/gpu-tests.part # pipefail: a failure ends the script
    mv benchmark/gpu-tests.part benchmark/gpu-tests.txt
fi
ask quality quality --data "$data" --rounds 3
ask augment-101 augment --sizes 101 --count 1024
ask augment-512 augment --sizes 512 --count 32
ask step step --milesial "$milesial" --small-batch 512 --large-batch 64
ask memory memory
ask predict predict --section 2048 8192
graphs=(data.cache_on_device=true trainer.compile=reduce-overhead)
# unet_small beside milesial's whole train.py, its defaults and --amp, on the same files and batch size
ask epoch-small epoch --data "$data" --images 2560 --batch 32 --epochs 4 --milesial "$milesial" --ours model=unet_small "${graphs[@]}"
ask epoch-milesial epoch --data "$data" --images 2560 --batch 32 --epochs 4 --milesial "$milesial"
train tgs_small tgs_small 400
train tgs_base tgs_base 400
# tgs_base loses score towards the end of 160 epochs (results/ablations.md): does stronger augmentation prevent that?
train tgs_base-strong tgs_base 400 augment=strong_device cross_validation.folds=[0,1]
train tgs_best tgs_best 400
for seed in 48 49; do train tgs_small-$seed tgs_small 400 seed=$seed data.seed=47; done
bash scripts/ablations.sh "$data" 200 "47 48 49" data.cache_on_device=true trainer.compile=reduce-overhead
