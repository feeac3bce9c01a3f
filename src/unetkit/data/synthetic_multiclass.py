"""Make seismic sections of four classes, from the parts of `unetkit.data.synthetic`.

Rock is layered, in part dim or chaotic. Salt lies behind a strong, ragged reflection. Water is still, over a bright
sea floor. Sand is a bed between two horizons, folded and faulted with the layers, whose thin, even beds reflect more
strongly than the rock's. Each class but rock is missing from some sections.
"""

from pathlib import Path

import numpy as np

from unetkit.data import synthetic
from unetkit.data.synthetic import Field, Image

VERSION = 1  # raise it when the sections change, so that older ones on disk are not used instead
CLASSES = ("rock", "salt", "water", "sand")
ROCK, SALT, WATER, SAND = range(4)


def section(seed: int, index: int, *, size: int = 101) -> tuple[Image, Image]:
    """Make one seismic section, fully determined by the arguments.

    Args:
        seed: Seed of the data set.
        index: Number of the section in the data set.
        size: Side of the square tile in pixels.

    Returns:
        The grey image (H, W), uint8 in 0..255, and the mask (H, W), uint8 indices of `CLASSES`.
    """
    rng = np.random.default_rng([seed, index, len(CLASSES)])
    has_water, has_salt, has_sand = rng.random(3) < (0.5, 0.6, 0.7)
    x, y = np.meshgrid(*2 * [np.linspace(-0.5, 0.5, size)])
    period = max(4 / size, min(rng.lognormal(-2.2, 0.4), 0.2))  # at least 4 pixels
    sea_floor = rng.uniform(-0.42, -0.1) + rng.normal(0, 0.1) * x + 0.02 * synthetic.smooth(rng, size, 4)[0]
    below = y - sea_floor if has_water else np.ones_like(y)
    salt = synthetic.salt_mask(rng, y, x, below > 0.05) if has_salt else np.zeros(y.shape, np.bool_)
    inside = synthetic.inside_distance(salt)
    t, u = synthetic.deformed(rng, y, x, period, inside)
    rock = 0.55 * synthetic.sediments(rng, t, u, y, x, period)
    low, high = _horizons(rng, t[below > 0])
    sand = (t > low) & (t < high) if has_sand else np.zeros_like(salt)
    thin = max(4 / size, 0.6 * period)
    rock = np.where(sand, 1.6 * synthetic.strata(rng, t, u, thin, 0.4, 1.0), rock)
    if has_salt:
        rock = synthetic.insert_salt(rng, rock, y, x, inside, period)
    rock = rock * (below > 0) + has_water * 4 * synthetic.ricker(below, 0.6 * period)
    mask = np.select([below <= 0, salt, sand], [WATER, SALT, SAND], ROCK)
    return synthetic.to_grey(rng, rock), mask.astype(np.uint8)


def _horizons(rng: np.random.Generator, t: Field) -> tuple[float, float]:
    """Draw two depths across the layers that take 10 % to 40 % of the ground between them."""
    share = rng.uniform(0.1, 0.4)
    start = rng.uniform(0, 1 - share)
    low, high = np.quantile(t, [start, start + share])
    return float(low), float(high)


def write(root: str | Path, *, count: int = 500, size: int = 101, seed: int = 0) -> Path:
    """Write `count` sections under `root`, all or nothing: images/ and masks/ of class indices, and classes.txt.

    A complete `root` is left alone.

    Raises:
        UserError: If `root` holds something, but no classes.txt.
    """

    def fill(folder: Path) -> None:
        for part in ("images", "masks"):
            (folder / part).mkdir()
        for index in range(count):
            for part, pixels in zip(("images", "masks"), section(seed, index, size=size), strict=True):
                synthetic.write_png(folder / part / f"{index:05d}.png", pixels)
        (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")

    return synthetic.write_folder(Path(root), "classes.txt", fill)
