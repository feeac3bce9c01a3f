"""What libraries give where unetkit has code of its own: `python -m benchmarks.libraries`, for `docs/libraries.md`.

It needs `pip install scikit-learn monai ImageHash` beside unetkit.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from benchmarks.contenders import peer
from benchmarks.measuring import cpu_seconds, paired
from unetkit.data.files import FileRef
from unetkit.data.folds import grouped_folds, stratified_folds
from unetkit.doctor.checks.duplicates import near_pairs
from unetkit.doctor.survey.images import measure_image
from unetkit.errors import mistakes_in_one_line
from unetkit.evaluation.bootstrap import bootstrap, resamples
from unetkit.metrics import hausdorff95
from unetkit.metrics.scores import Dice, ImageIoU
from unetkit.training.schedules import warmup_cosine

PAIRS, FOLDS, STRATA = 4000, 5, 20
DIFFERENT = 300  # images, none of which is a copy of another
ROUNDS = 5


def times_as_long(ours: Callable[[], object], library: Callable[[], object]) -> str:
    """Return how much longer the library takes, of CPU time: the median of paired runs."""
    measured = paired({"ours": ours, "library": library}, ROUNDS, torch.device("cpu"), clock=cpu_seconds)
    ratio = measured["library"]["time / unetkit's"]
    return f"the library takes {ratio:.1f} times as long"


def splits() -> None:
    """Compare how equal the mean coverage of folds is: of single pairs, and of whole groups."""
    sklearn = peer("sklearn.model_selection")
    rng = np.random.default_rng(0)
    coverage = np.where(rng.random(PAIRS) < 0.39, 0, rng.beta(0.6, 1.2, PAIRS))
    groups = rng.integers(0, PAIRS * 2 // 5, PAIRS)
    strata = np.argsort(np.argsort(coverage, kind="stable")) * STRATA // PAIRS

    def theirs(kind: str) -> NDArray[np.int64]:
        folds = np.empty(PAIRS, np.int64)
        splitter = getattr(sklearn, kind)(FOLDS, shuffle=True, random_state=0)
        for fold, (_, chosen) in enumerate(splitter.split(coverage, strata, groups)):
            folds[chosen] = fold
        return folds

    def compare(kind: str, ours: Callable[[], NDArray[np.int64]]) -> None:
        spreads = [np.ptp([coverage[f == k].mean() for k in range(FOLDS)]) for f in (ours(), theirs(kind))]
        speed = times_as_long(ours, lambda: theirs(kind))
        print(f"{kind}: folds differ by {spreads[0]:.6f} (unetkit), {spreads[1]:.6f}; {speed}")

    compare("StratifiedKFold", lambda: stratified_folds(coverage, FOLDS, 0))
    compare("StratifiedGroupKFold", lambda: grouped_folds(coverage, groups, FOLDS, 0))


def duplicates() -> None:
    """Count pairs of different 16-bit images that are called nearly equal."""
    imagehash, pillow = peer("imagehash"), peer("PIL.Image")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(DIFFERENT)]
        for file in files:
            noise = cv2.GaussianBlur(rng.random((128, 128)), (0, 0), 6)
            cv2.imwrite(str(file), (1000 + 2000 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint16))
        found = [measure_image(FileRef(file)).thumbnail for file in files]
        hashes = np.array([imagehash.phash(pillow.open(file)).hash.ravel() for file in files])
    ours = len(near_pairs(np.stack([thumbnail for thumbnail in found if thumbnail is not None])))
    theirs = int(np.triu((hashes[:, None] != hashes).sum(-1) <= 4, 1).sum())
    print(f"near duplicates among {DIFFERENT} different 16-bit images: {ours} (unetkit), {theirs} (ImageHash phash)")


def intervals() -> None:
    """Compare the bootstrap interval of a pooled IoU."""
    scipy, rng = peer("scipy.stats"), np.random.default_rng(0)
    inner = rng.integers(0, 5000, 800).astype(float)
    union = inner + rng.integers(1, 3000, 800)
    draws = resamples(800, 2000, 0)

    def ours() -> Any:
        return bootstrap(lambda d: (d @ torch.from_numpy(inner)) / (d @ torch.from_numpy(union)), draws)

    def theirs() -> Any:
        def pooled(a: Any, b: Any, axis: int = -1) -> Any:
            return a.sum(axis) / b.sum(axis)

        options = {"paired": True, "vectorized": True, "n_resamples": 2000, "method": "percentile"}
        return scipy.bootstrap((inner, union), pooled, rng=np.random.default_rng(0), **options).confidence_interval

    low, high = theirs()
    speed = times_as_long(ours, theirs)
    print(f"interval: {ours().low:.4f} to {ours().high:.4f} (unetkit), {low:.4f} to {high:.4f} (SciPy); {speed}")


def schedules() -> None:
    """Compare the last rates of two groups of parameters, which shall be a tenth of their first ones."""

    def torchs(optimizer: Optimizer) -> LRScheduler:
        parts = [LinearLR(optimizer, 1 / 5, 1, 4), CosineAnnealingLR(optimizer, 95, eta_min=0.1)]
        return SequentialLR(optimizer, parts, [5])

    def last(make: Callable[[Optimizer], LRScheduler]) -> list[float]:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.1)]
        optimizer = torch.optim.SGD(groups)
        schedule = make(optimizer)
        for _ in range(100):
            optimizer.step()
            schedule.step()
        return [round(group["lr"], 6) for group in optimizer.param_groups]

    print(f"last rates: {last(lambda o: warmup_cosine(o, 100, 0.05, 0.1))} (unetkit), {last(torchs)} (SequentialLR)")


def scores() -> None:
    """Compare the mean over three images: half right, both masks empty, a false alarm."""
    torchmetrics = peer("torchmetrics.segmentation")
    predicted, true = torch.zeros(2, 3, 8, 8, dtype=torch.long)
    predicted[0, :4], true[0, 2:6], predicted[2, 0, 0] = 1, 1, 1
    options: dict[str, Any] = {"num_classes": 2, "include_background": False, "input_format": "index"}
    for ours, theirs in ((ImageIoU(1), "MeanIoU"), (Dice(1), "DiceScore")):
        library = getattr(torchmetrics, theirs)(**options)
        ours.update(predicted, true, torch.ones_like(true, dtype=torch.bool))
        library.update(predicted, true)
        print(f"{theirs}: {ours.compute().item():.4f} (unetkit), {library.compute().mean().item():.4f} (torchmetrics)")


def distances() -> None:
    """Compare the 95 % Hausdorff distance of discs, and with an empty prediction."""
    monai = peer("monai.metrics")
    y, x = np.mgrid[:256, :256]
    one, other = (np.hypot(y - 120, x - 120) < 60), (np.hypot(y - 128, x - 130) < 62)

    def theirs(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
        a_, b_ = (torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in (a, b))
        return float(monai.compute_hausdorff_distance(a_, b_, percentile=95)[0, 0])

    for name, prediction in (("disc", one), ("nothing", np.zeros_like(one))):
        print(f"hausdorff95 of {name}: {hausdorff95(prediction, other):.4f} (unetkit), {theirs(prediction, other):.4f}")
    print(times_as_long(lambda: hausdorff95(one, other), lambda: theirs(one, other)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with mistakes_in_one_line():
        for compare in (splits, duplicates, intervals, schedules, scores, distances):
            compare()
