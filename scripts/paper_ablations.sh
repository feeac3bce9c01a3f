#!/usr/bin/env bash
# From the U-Net paper's form to today's, one choice at a time: bash scripts/paper_ablations.sh ISBI2012 STEPS [KEY=VALUE...]
# A network of a quarter of the paper's width and one level less, tiles of 196 px, one tile a step; fold 0 of 5 blocks.
# It can be interrupted and started again. Results: runs/paper-ablations-STEPS/NAME/summary.json
set -euo pipefail
data=$(realpath "${1:?train.zip, or the folder with images/ and masks/, of ISBI 2012}")
steps=${2:?steps of each run, such as 800}
cd "$(dirname "$0")/.."
base=runs/paper-ablations-$steps
padding="model.padding=zeros"
norm="model.norm=batch"
loss="loss=dice_bce"
augmentation="augment.grid=4 augment.displacement_px=6 augment.interpolation=bilinear augment.elastic_p=0.8
    augment.zoom=[0.85,1.25] augment.shift=0.15 augment.affine_p=0.8 augment.intensity_p=0.5"
optimiser="optimizer=adamw ~optimizer.momentum ~optimizer.nesterov optimizer.lr=3e-3 optimizer.weight_decay=5e-3
    scheduler=onecycle trainer.gradient_clip_val=1"
changes=(
    "paper"
    "padding $padding"
    "norm $norm"
    "loss $loss"
    "augmentation $augmentation"
    "optimiser $optimiser"
    "today $padding $norm $loss $augmentation $optimiser"
)
for change in "${changes[@]}"; do
    read -r -d '' -a words <<<"$change" || true
    python train.py experiment=isbi2012_paper data.root="$data" model.channels=[16,32,64,128] data.crop_size=196 \
        trainer.max_steps="$steps" checkpoint=auto hydra.run.dir="$base/${words[0]}" "${words[@]:1}" "${@:3}"
done
