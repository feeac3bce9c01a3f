"""Draw docs/examples.png: validation images of a run on `data=synthetic`, their true masks and the predicted ones.

Usage: python docs/draw_examples.py RUN OUTPUT.png
"""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

import unetkit
from unetkit.plots.images import overlay, visible

Picture = NDArray[np.uint8]
SHARES = (0.99, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.05)  # ranks by IoU of the images that are shown, as shares
SIDE, GAP = 202, 6  # pixels of a tile, and between tiles


def main(run: Path, output: Path) -> None:
    """Predict all validation images with salt, and draw those at some ranks of their IoU."""
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    cache = Path(data["cache_dir"]).expanduser()
    (folder,) = cache.glob(f"synthetic-v*-{data['count']}x{data['size']}-seed{data['sections_seed']}")
    with (run / "split.csv").open() as file:
        names = [row["id"] for row in csv.DictReader(file) if row["split"] == "val"]
    predictor = unetkit.load(run)
    columns = []
    for name in names:
        image = np.asarray(Image.open(folder / "images" / f"{name}.png").convert("L"))
        truth = (np.asarray(Image.open(folder / "masks" / f"{name}.png")) > 0).astype(np.uint8)
        prediction = predictor(image).mask
        if truth.any():
            iou = (truth & prediction).sum() / (truth | prediction).sum()
            columns.append((iou, [visible(image), overlay(image, truth), overlay(image, prediction)]))
    columns.sort(key=lambda column: column[0])
    chosen = [columns[round(share * (len(columns) - 1))] for share in SHARES]
    scores = ", ".join(f"{iou:.2f}" for iou, _ in chosen)
    sys.stdout.write(f"IoU from left to right: {scores}; of {len(columns)} images\n")
    Image.fromarray(grid([tiles for _, tiles in chosen])).save(output, optimize=True)


def grid(columns: list[list[Picture]]) -> Picture:
    """Arrange the tiles (H, W, 3) of columns, enlarged, side by side on white."""
    step = SIDE + GAP
    canvas = np.full((3 * step - GAP, len(columns) * step - GAP, 3), 255, np.uint8)
    for x, column in enumerate(columns):
        for y, tile in enumerate(column):
            large = cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
            canvas[y * step : y * step + SIDE, x * step : x * step + SIDE] = large
    return canvas


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
