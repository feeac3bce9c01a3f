#!/usr/bin/env bash
# Install the oldest allowed version of every dependency in a new environment, and run the tests that tell most about
# each of them: scripts/floors.sh [FOLDER OF THE ENVIRONMENT]. It downloads about 3 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-.venv-floors}
rm -rf "$place"
.venv/bin/uv venv --quiet --python .venv/bin/python "$place"
.venv/bin/uv pip install --quiet --python "$place/bin/python" --resolution lowest-direct \
  -e ".[tensorboard,zoo,export,openvino,segy,coco,heic,geo,medical,zarr,demo,serve,hub,notebooks,launchers,tune,instances]" "pytest>=8.3" "pytest-xdist>=3.6" "hypothesis>=6.100"
tests=(
  training/test_run.py training/test_resume.py training/test_old_runs.py training/test_loggers.py test_configs.py
  checkpoints/test_export.py checkpoints/test_checkpoint.py prediction models/test_zoo.py
  data/test_files.py data/test_listing.py data/test_layers.py data/test_damaged_files.py data/test_gdal.py data/test_segy.py data/test_zarr.py
  metrics/test_metrics.py metrics/test_metrics_formulas.py metrics/test_objects.py losses/test_losses.py
  evaluation/test_compare.py report/test_report.py demo/test_page.py serve checkpoints/test_hub.py cli/test_tune.py
)
"$place/bin/pytest" "${tests[@]/#/tests/}"
