"""Draw docs/membranes.png: a slice of ISBI 2012, the truth, the masks of two runs, and where these are wrong.

Usage: python docs/draw_membranes.py PAPER_RUN MODERN_RUN OUTPUT.png [SLICE]
The slice, 0 by default, counts from the first of those that both runs left out of training.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from unetkit.evaluation import LabelledImages, open_models
from unetkit.plots.images import visible
from unetkit.run_files import read_config
from unetkit.training.run_data import data_of_run

SIDE = 288  # pixels of the part that is shown
MISSED, INVENTED = (213, 94, 0), (0, 114, 178)  # a membrane without a line, and a line without a membrane


def main(paper: str, modern: str, output: str, number: str = "0") -> None:
    """Predict a slice with both runs, seven rotations averaged, and draw its upper left part."""
    models = open_models([paper, modern], ["paper", "modern"], "cpu", "rotations")
    run = models[0].run
    assert run is not None, "give run directories"
    images = list(LabelledImages(data_of_run(run, read_config(run / "config.yaml")["data"]["cache_dir"]), "val"))
    name, image, truth = images[int(number)]
    assert all(name not in model.trained_on() for model in models)
    part = (slice(0, SIDE), slice(0, SIDE))
    cells = (truth == 1)[part]
    masks = [(model.predictor(image).mask == 1)[part] for model in models]
    wrong = [mistakes(mask, cells) for mask in masks]
    shown = [visible(image[part]), grey(cells), grey(masks[0] ^ masks[1]), *map(grey, masks), *wrong]
    titles = [f"slice {name}", "truth", "where both masks differ", "paper's recipe", "today's recipe"]
    titles += ["mistakes of the paper's recipe", "mistakes of today's"]
    figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
    for axis, place in zip(axes.flat, (0, 1, 3, 4, 2, None, 5, 6), strict=True):
        axis.axis("off")
        if place is not None:
            axis.imshow(shown[place])
            axis.set_title(titles[place], fontsize=9)
    figure.savefig(output, dpi=100)


def grey(cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return cells (H, W) white and membranes black, as RGB."""
    return np.repeat(cells[..., None].astype(np.uint8) * 255, 3, 2)


def mistakes(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the true cells, light, with the pixels on which a mask differs in colour, as RGB."""
    picture = 160 + grey(true) // 255 * 95
    picture[predicted & ~true], picture[~predicted & true] = MISSED, INVENTED
    return picture


if __name__ == "__main__":
    main(*sys.argv[1:])
