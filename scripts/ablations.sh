#!/usr/bin/env bash
# experiment=tgs_small with one thing changed at a time: bash scripts/ablations.sh TGS_SALT EPOCHS "SEED ..." [KEY=VALUE...]
# It can be interrupted and started again. On a CPU, run it once for each fold, side by side, with
# cross_validation.folds=[0] and [1]; the one that ends last compares both.
# On a GPU: 200 "47 48 49" data.cache_on_device=true trainer.compile=reduce-overhead
# Results: runs/ablations-EPOCHS/NAME-SEED/summary.json, runs/ablations-EPOCHS/comparison/
set -euo pipefail
data=$(realpath "${1:?the folder with train.zip or train/, and train.csv of TGS Salt}")
epochs=${2:?how many epochs each}
seeds=${3:?seeds, such as "47 48 49"}
cd "$(dirname "$0")/.."
base=runs/ablations-$epochs
changes=(
    "tgs_small"
    "flips_alone augment.elastic_p=0 augment.affine_p=0 augment.intensity_p=0"
    "strong_device augment=strong_device"
    "ema callbacks=ema"
    "no_attention model.attention=none"
    "pyramid model.bottleneck=pyramid"
    "deep_supervision deep_supervision=0.4"
    "dice_bce loss=dice_bce"
    "not_symmetric loss.weights.bce=1 loss.terms.lovasz.symmetric=false"
    "cosine scheduler=cosine"
    "little_weight_decay optimizer.weight_decay=0.005"
)
runs=() names=()
for seed in $seeds; do
    for change in "${changes[@]}"; do
        read -ra words <<<"$change"
        name=${words[0]}
        runs+=("$base/$name-$seed") names+=("$name")
        python scripts/cross_validate.py experiment=tgs_small data.root="$data" cross_validation.folds=[0,1] \
            seed="$seed" data.seed=47 trainer.max_epochs="$epochs" trainer.check_val_every_n_epoch="$epochs" \
            hydra.run.dir="$base/$name-$seed" "${words[@]:1}" "${@:4}"
    done
done
python scripts/compare.py "runs=[$(IFS=, && echo "${runs[*]}")]" "names=[$(IFS=, && echo "${names[*]}")]" output="$base/comparison"
