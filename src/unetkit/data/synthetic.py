"""Make salt-like seismic sections: a data set that needs no download.

A section follows the convolutional model of a seismic image, as in Wu et al. (FaultSeg3D, Geophysics 84(3),
2019): layered reflectivity is convolved with a Ricker wavelet, then tilted, folded and faulted. A salt body
replaces the layers by weak, steep, chaotic texture under a rough, strong reflection. Some zones without
salt are chaotic or dim too, so that neither brightness nor texture alone tells where salt is. Grey levels,
wavelengths, coverage and the share of empty masks were matched by eye and by histogram to the TGS Salt
Identification Challenge (Kaggle, 2018), whose layout on disk `write` reproduces. No TGS pixel is used.

Units: lengths and coordinates are shares of the tile's side, y downwards and x to the right, both in
[-0.5, 0.5]. Amplitudes are in standard deviations of the layers until `to_grey`.
"""

import csv
import hashlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from unetkit.data.rle import encode_rle
from unetkit.errors import UserError

Field = NDArray[np.float64]
Image = NDArray[np.uint8]

VERSION = 1  # raise it when the sections change, so that older ones on disk are not used instead
EMPTY_SHARE = 0.39  # in TGS, 1562 of the 4000 training masks are empty
GREY_MEAN, GREY_STD = 123.0, 37.0  # in TGS, the mean of a tile, and the standard deviation of its layers


def smooth(rng: Generator, size: int, cells: int) -> Field:
    """Draw smooth Gaussian noise (size, size) of about unit variance, with `cells` bumps along a side."""
    coarse = rng.standard_normal((cells + 1, cells + 1))
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float64)


def _step(z: Field) -> Field:
    """Return a soft step from 0 to 1 around `z` = 0."""
    return 0.5 + 0.5 * np.tanh(z)


def ricker(distance: Field, period: float) -> Field:
    """Return the Ricker wavelet with peak 1 at 0 and peak frequency 1 / `period` (Ricker, Geophysics 18(1), 1953)."""
    a = (np.pi * distance / period) ** 2
    return np.asarray((1 - 2 * a) * np.exp(-a))


def rotate(y: Field, x: Field, angle: float) -> tuple[Field, Field]:
    """Return depth across, and position along, layers that dip by `angle` in radians."""
    return y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)


def strata(rng: Generator, t: Field, u: Field, period: float, reach: float, bedding: float = 0.0) -> Field:
    """Draw band-limited reflections (H, W) of unit variance.

    Args:
        rng: Source of the noise.
        t: (H, W), depth of each pixel across the layers while they were flat, useful in [-1, 1].
        u: (H, W), position of each pixel along the layers while they were flat, useful in [-1, 1].
        period: Wavelength across the layers.
        reach: Distance along a layer over which it changes; small values give chaos.
        bedding: Strength of the reflectors that never change along the layer.
    """
    size = t.shape[0]
    one = np.ones(1)
    wavelet = ricker(np.arange(-np.ceil(period * size), np.ceil(period * size) + 1), period * size)
    along = cv2.getGaussianKernel(2 * round(reach * size) + 1, 0.4 * reach * size)
    noise = rng.standard_normal((2 * size, 2 * size), dtype=np.float32)
    sheet = cv2.sepFilter2D(noise, cv2.CV_32F, along / np.linalg.norm(along), one)
    sheet = sheet + bedding * rng.laplace(size=(2 * size, 1))
    sheet = cv2.sepFilter2D(sheet, cv2.CV_64F, one, wavelet)
    columns, rows = (((c + 1) * size).astype(np.float32) for c in (u, t))
    tile = cv2.remap(sheet, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(tile / tile.std())


def salt_mask(rng: Generator, y: Field, x: Field, ground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Draw a salt body (H, W) in `ground`: all behind a bent, ragged front, about 2 % to 98 % of the tile."""
    size = y.shape[0]
    across, along = rotate(y, x, rng.vonmises(0, 0.3))
    front = across - rng.normal(1.0, 1.5) * (along - rng.uniform(-0.3, 0.3)) ** 2
    if rng.random() < 0.3:  # a sheet or a finger: the salt ends again behind its front
        front = np.minimum(front, rng.uniform(0.3, 0.8) - front)
    front += rng.uniform(0.02, 0.15) * smooth(rng, size, 3)
    front += rng.uniform(0.002, 0.03) * smooth(rng, size, 12)
    if rng.random() < 0.15:  # TGS's interpreters sometimes end a body at a straight vertical line
        front = np.minimum(front, 0.3 * (rng.choice([-1, 1]) * x + rng.uniform(-0.2, 0.3)))
    coverage = np.clip(rng.beta(0.6, 0.85), 0.02, 0.98 * ground.mean())
    return np.asarray(ground & (front >= np.quantile(front[ground], 1 - coverage / ground.mean())))


def inside_distance(mask: NDArray[np.bool_]) -> Field:
    """Return the distance (H, W) to the body's outline, positive inside; the border of the tile is no outline."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    pixels = cv2.GaussianBlur(inside - outside, (0, 0), 1.2).astype(np.float64)
    return np.asarray(np.clip(pixels / mask.shape[0], -2, 2))


def deformed(rng: Generator, y: Field, x: Field, period: float, inside: Field) -> tuple[Field, Field]:
    """Return depth across and position along the layers (H, W): tilted, folded, faulted, dragged along by salt."""
    size = y.shape[0]
    steep = rng.random() < 0.45
    t, u = rotate(y, x, rng.uniform(-1.4, 1.4) if steep else rng.normal(0, 0.2))
    t += rng.normal(0.1, 0.1) * np.exp(np.minimum(inside, 0) / 0.25)  # drag, fading away from the salt
    t += rng.uniform(0, 0.06) * smooth(rng, size, 2) + rng.uniform(0, 0.009) * smooth(rng, size, 12)
    for _ in range(rng.choice([0, 0, 1, 2])):
        fault, _along = rotate(x, y, rng.normal(0, 0.5))
        t += rng.normal(0, 0.8) * period * _step((fault - rng.uniform(-0.5, 0.5)) / (0.01 + 0.15 * period))
    return t, u


def sediments(rng: Generator, t: Field, u: Field, y: Field, x: Field, period: float) -> Field:
    """Draw layered rock (H, W) at the depths `t` and positions `u`, in part chaotic."""
    layers = strata(rng, t, u, period, rng.uniform(0.04, 0.4), rng.uniform(0, 1.2))
    return disturb(rng, layers, y, x, period)


def disturb(rng: Generator, layers: Field, y: Field, x: Field, period: float) -> Field:
    """Mix short crossing events into the layers (H, W), mostly in one smooth-edged zone, and vary the gain."""
    size = y.shape[0]
    t, u = rotate(y, x, rng.uniform(-1.1, 1.1))
    chaos = strata(rng, t, u, period * rng.uniform(0.7, 1.5), rng.uniform(0.03, 0.15))
    zone = _step(3 * (smooth(rng, size, 2) - rng.uniform(0, 3)))
    share = np.clip(rng.uniform(0, 0.35) + zone * rng.uniform(0, 1), 0, 1)
    gain = np.exp(0.35 * smooth(rng, size, 4)) * (1 - zone * rng.uniform(0, 0.7))
    return ((1 - share) * layers + share * chaos) * gain


def insert_salt(rng: Generator, rock: Field, y: Field, x: Field, inside: Field, period: float) -> Field:
    """Replace `rock` (H, W) where `inside` > 0 by weak steep chaos, and add the outline's reflection."""
    t, u = rotate(y, x, rng.normal(np.pi / 2, 0.6))
    texture = strata(rng, t, u, max(period, 0.1) * rng.uniform(0.7, 1.7), rng.uniform(0.06, 0.3))
    texture *= rng.lognormal(-1.6, 0.6)
    salt = _step(inside / (0.3 * period))
    down, right = np.gradient(inside)
    facing = down / (np.hypot(down, right) + 1e-6)  # 1 on top of the salt, 0 on its flanks, -1 at its base
    strength = min(4.5, rng.lognormal(1.0, 0.5)) * rng.choice([1, 1, 1, -1]) * np.clip(0.5 + facing, -0.8, 1)
    strength *= 0.8 + 0.5 * smooth(rng, y.shape[0], 8)
    outline = ricker(inside - rng.uniform(-0.15, 0.35) * period, 0.8 * min(period, 0.3))
    return np.asarray(rock * (1 - salt) + texture * salt + strength * outline)


def to_grey(rng: Generator, rock: Field) -> Image:
    """Add noise and map amplitudes (H, W) to grey levels in 0..255."""
    grain = cv2.GaussianBlur(rng.standard_normal(rock.shape), (0, 0), rng.uniform(0.5, 1.2))
    noisy = rock + min(0.4, rng.lognormal(-1.8, 0.8)) * grain
    grey = rng.normal(GREY_MEAN, 18) + max(10, rng.normal(GREY_STD, 6)) * noisy
    return np.clip(grey, 0, 255).astype(np.uint8)


def section(seed: int, index: int, *, size: int = 101, salt: bool) -> tuple[Image, Image]:
    """Make one seismic section, fully determined by the arguments.

    Args:
        seed: Seed of the data set.
        index: Number of the section in the data set.
        size: Side of the square tile in pixels.
        salt: Whether the tile holds salt, at least 1 % of its pixels.

    Returns:
        The grey image (H, W), uint8 in 0..255, and the mask (H, W), uint8 in {0, 1}.
    """
    rng = np.random.default_rng([seed, index])
    x, y = np.meshgrid(*2 * [np.linspace(-0.5, 0.5, size)])
    has_sea = rng.random() < 0.08
    period = max(4 / size, min(rng.lognormal(-1.9, 0.6), 0.12 if has_sea else 0.4))  # at least 4 pixels
    sea_floor = rng.uniform(-0.45, -0.1) + rng.normal(0, 0.1) * x + 0.02 * smooth(rng, size, 4)[0]
    below = y - sea_floor if has_sea else np.ones_like(y)
    mask = salt_mask(rng, y, x, below > 0.05) if salt else np.zeros(y.shape, np.bool_)
    inside = inside_distance(mask)
    t, u = deformed(rng, y, x, period, inside)
    rock = sediments(rng, t, u, y, x, period)
    if salt:
        rock = insert_salt(rng, rock, y, x, inside, period)
    if has_sea:  # still water over a bright, flat floor
        rock = rock * (below > 0) + 4 * ricker(below, 0.6 * period)
    return to_grey(rng, rock), mask.astype(np.uint8)


def is_empty(index: int) -> bool:
    """Return whether section `index` holds no salt; of the first n sections exactly round(0.39 n) hold none."""
    return round(EMPTY_SHARE * (index + 1)) > round(EMPTY_SHARE * index)


def write_png(path: Path, pixels: cv2.typing.MatLike) -> None:
    """Write grey or BGR pixels."""
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _write_table(path: Path, header: tuple[str, str], rows: list[tuple[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *sorted(rows)])


def _fill(folder: Path, count: int, size: int, seed: int) -> None:
    """Write TGS's layout into the empty `folder`: 8-bit RGB images, 16-bit masks and the two tables."""
    runs: list[tuple[str, object]] = []
    depths: list[tuple[str, object]] = []
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(count):
        name = hashlib.sha256(f"{seed}-{index}".encode()).hexdigest()[:10]
        image, mask = section(seed, index, size=size, salt=not is_empty(index))
        write_png(folder / "images" / f"{name}.png", cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        write_png(folder / "masks" / f"{name}.png", mask.astype(np.uint16) * 65535)
        runs.append((name, encode_rle(mask)))
        depths.append((name, int(np.random.default_rng([seed, index, 1]).integers(50, 951))))  # feet
    _write_table(folder / "depths.csv", ("id", "z"), depths)
    _write_table(folder / "train.csv", ("id", "rle_mask"), runs)


def write(root: str | Path, *, count: int = 500, size: int = 101, seed: int = 0) -> Path:
    """Write `count` sections under `root` in TGS's layout, all or nothing; a complete `root` is left alone.

    Raises:
        UserError: If `root` holds something, but no train.csv.
    """
    return write_folder(Path(root), "train.csv", lambda folder: _fill(folder, count, size, seed))


def write_folder(root: Path, mark: str, fill: Callable[[Path], None]) -> Path:
    """Make the folder `root` by `fill`, all or nothing; where it holds the file `mark`, it is left alone.

    Raises:
        UserError: If `root` holds something, but no such file.
    """
    if (root / mark).exists():
        return root
    if root.exists() and any(root.iterdir()):
        raise UserError(str(root), f"is not empty and has no {mark}", "move it away or choose another folder")
    draft = root.with_name(f".{root.name}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        fill(draft)
        draft.replace(root)
    except OSError:
        if not (root / mark).exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root
