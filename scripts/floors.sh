#!/usr/bin/env bash
# Install the oldest allowed version of every dependency in a new environment, and run the tests that use each of them:
# scripts/floors.sh [FOLDER OF THE ENVIRONMENT]. It downloads about 3 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-.venv-floors}
rm -rf "$place"
.venv/bin/uv venv --quiet --python .venv/bin/python "$place"
.venv/bin/uv pip install --quiet --python "$place/bin/python" --resolution lowest-direct \
  -e ".[tensorboard,zoo,export,segy,coco,heic,geo,demo,notebooks,launchers,tune]" "pytest>=8.3" "pytest-xdist>=3.6" "hypothesis>=6.100"
tests=(
  checkpoints/test_export.py checkpoints/test_checkpoint.py  # torch, ONNX
  training/test_run.py training/test_resume.py training/test_old_runs.py training/test_loggers.py  # Lightning, Hydra, W&B
  prediction data/test_mosaic.py data/test_augment.py data/test_segy.py  # OpenCV, NumPy, SciPy, Pillow, albumentations
  models/test_zoo.py models/test_transformers.py evaluation/test_compare.py report  # the zoo, Matplotlib, Jinja
  doctor/test_doctor_layout.py demo/test_page.py demo/test_results.py  # Gradio
)
"$place/bin/pytest" "${tests[@]/#/tests/}"
