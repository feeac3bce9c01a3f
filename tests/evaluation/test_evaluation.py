"""Intervals, paired differences and tables, on models that predict what the test says."""

import csv
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision

from unetkit.data import VOID, Preprocessing
from unetkit.errors import UserError
from unetkit.evaluation import (
    Measured,
    all_keys,
    bootstrap,
    difference,
    empty_masks,
    measure,
    resamples,
    score_of,
    statistics,
    summarise,
    write_scores,
)
from unetkit.evaluation.primary import read_primary
from unetkit.paths import write_json
from unetkit.prediction.predictor import Predictor
from unetkit.report.cases import FALSE, MISSED, choose, errors
from unetkit.report.figures import iou_by_coverage

Masks = Sequence[NDArray[np.uint8]]
PLAIN = Preprocessing(1, None, (0.0,), (1 / 255,))  # the network sees pixels as they are


class Says(nn.Module):
    """Is sure that the class of a pixel is its value; one logit, or one for each of several classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(40.0))
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        if self.num_classes == 1:
            return self.sure * (2 * x - 1)
        return self.sure * torch.cat([(x == label).float() for label in range(self.num_classes)], 1)


def rows(*pixels: Sequence[int]) -> Masks:
    """Masks of one row of pixels each."""
    return [np.array([row], np.uint8) for row in pixels]


def measured(masks: Masks, truths: Masks, name: str = "a", classes: tuple[str, ...] = ("salt",)) -> Measured:
    predictor = Predictor(Says(1 if len(classes) == 1 else len(classes) + 1), PLAIN)
    pairs = [(f"{i:03}", mask, truth) for i, (mask, truth) in enumerate(zip(masks, truths, strict=True))]
    return measure(name, predictor, pairs, classes)


def values(model: Measured, label: int | None = None) -> dict[str, float]:
    draws = resamples(len(model.ids), 100, 0)
    return {name: bootstrap(statistic, draws).value for name, statistic in statistics(model, label).items()}


def mean_of(scores: Tensor, weights: Tensor) -> Tensor:
    return weights @ scores / weights.sum(1)


def coins(chance: float, images: int, seed: int) -> Masks:
    """Images of one pixel, foreground by chance: against full truths, each scores 1 or 0."""
    return rows(*[[int(x)] for x in np.random.default_rng(seed).random(images) < chance])


def test_a_mean_over_images_and_a_pooled_score_by_hand() -> None:
    scores = values(measured(rows([1, 0, 0, 0], [0, 0, 0, 1]), rows([1, 1, 0, 0], [0, 0, 0, VOID])))
    assert scores["per_image/iou"] == pytest.approx((1 / 2 + 1) / 2)
    assert scores["pooled/iou"] == pytest.approx(1 / 2)
    assert scores["per_image/accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert scores["pooled/accuracy"] == pytest.approx(6 / 7)
    assert scores["pooled/ece"] == pytest.approx(1 / 7)  # of the pixels that are surely 0, one of six is 1


def test_scores_of_several_classes_by_hand() -> None:
    model = measured(rows([0, 1, 2, 2]), rows([0, 1, 1, 2]), classes=("water", "salt"))
    assert values(model)["pooled/iou"] == pytest.approx(1 / 2)
    assert values(model, 0)["pooled/recall"] == pytest.approx(1 / 2)
    assert values(model, 1)["pooled/precision"] == pytest.approx(1 / 2)
    assert values(model)["pooled/accuracy"] == pytest.approx(3 / 4)
    assert "pooled/ece" not in values(model, 0)


def test_files_and_tables_have_the_same_scores() -> None:
    keys = statistics(measured(rows([1, 0]), rows([1, 1]))).keys()
    assert sorted(all_keys("pooled/iou")) == sorted(keys)
    assert all(score_of(key).label and score_of(key).meaning for key in keys)


def test_a_network_that_predicts_no_numbers_is_named() -> None:
    network = Says(1)
    network.sure.data.fill_(torch.nan)
    (image,) = rows([1, 0])
    with pytest.raises(UserError, match=r"diverged, given x, predicts values that are not numbers \(NaN\); its"):
        measure("diverged", Predictor(network, PLAIN), [("x", image, image)], ("salt",))


def test_void_images_are_left_out() -> None:
    model = measured(rows([1, 0], [1, 1]), rows([VOID, VOID], [1, 1]))
    assert model.ids == ("001",)
    with pytest.raises(UserError, match="all masks are void"):
        measured(rows([1, 0]), rows([VOID, VOID]))


class Scaled(nn.Module):
    """Its logits rise with the pixels' values."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def test_average_precision_does_not_change_if_all_probabilities_are_mapped_alike() -> None:
    rng = np.random.default_rng(4)
    truths = [(rng.random((40, 40)) < 0.2).astype(np.uint8) for _ in range(6)]
    images = [(rng.normal(100 + 40 * truth, 30).clip(0, 255)).astype(np.uint8) for truth in truths]
    scores = np.concatenate(images).ravel(), torch.from_numpy(np.concatenate(truths).ravel()).int()
    exact = binary_average_precision(torch.from_numpy(scores[0] / 256), scores[1]).item()
    for scale, shift in ((0.05, -5.0), (0.005, -6.0), (0.001, 0.0)):
        pairs = [(str(i), image, truth) for i, (image, truth) in enumerate(zip(images, truths, strict=True))]
        model = measure("a", Predictor(Scaled(scale, shift), PLAIN), pairs, ("salt",))
        assert values(model)["pooled/average_precision"] == pytest.approx(exact, abs=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 300 samples of 60 images with scores of 1 and 0, 1 being drawn 70 % of the time, some 95 % hold 0.7."""
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(300):
        scores = torch.from_numpy((rng.random(60) < 0.7).astype(float))
        interval = bootstrap(partial(mean_of, scores), resamples(60, 300, seed))
        held += interval.low <= 0.7 <= interval.high
    assert 0.9 <= held / 300 <= 0.98


def test_the_interval_is_that_of_the_normal_law_for_a_mean() -> None:
    model = measured(coins(0.5, 400, 0), rows(*[[1]] * 400))
    interval = bootstrap(statistics(model)["per_image/iou"], resamples(400, 4000, 1))
    error = 1.96 * np.sqrt(interval.value * (1 - interval.value) / 400)
    assert interval.low == pytest.approx(interval.value - error, abs=0.006)
    assert interval.high == pytest.approx(interval.value + error, abs=0.006)


def test_a_difference_is_paired() -> None:
    """A model that is right on the same images and three more differs by these only, whatever else is drawn."""
    base = coins(0.5, 300, 2)
    wrong = [i for i, mask in enumerate(base) if not mask.any()][:3]
    better = [np.ones_like(mask) if i in wrong else mask for i, mask in enumerate(base)]
    full = rows(*[[1]] * 300)
    ours, theirs = (statistics(measured(masks, full))["per_image/iou"] for masks in (better, base))
    draws = resamples(300, 2000, 0)
    gap, alone = difference(ours, theirs, draws), bootstrap(ours, draws)
    assert gap.value == pytest.approx(0.01)
    assert 0 <= gap.low < gap.high <= 0.025
    assert alone.high - alone.low > 0.1  # an unpaired comparison could not tell them apart
    same = difference(theirs, theirs, draws)
    assert same == (0, 0, 0)


def test_the_comparison_counts_images_in_the_direction_that_is_better() -> None:
    truth = rows([1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0])
    reference = measured(rows([1, 0, 0, 0, 0], [1, 1, 0, 0, 1], [1, 1, 0, 0, 0]), truth, "reference")
    model = measured(rows([1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]), truth, "model")
    found = summarise([reference, model], resamples(3, 100, 0))["differences"]["model"]
    for name in ("per_image/iou", "per_image/hausdorff95"):  # for the second, lower is better
        assert (found[name]["better"], found[name]["worse"]) == (2, 1)
    assert found["per_image/hausdorff95"]["value"] > 0


def test_differences_are_those_of_the_class_that_leads() -> None:
    truth = rows([1, 1, 2, 2, 0], [1, 1, 2, 2, 0])
    classes = "salt", "water"
    reference = measured(rows([1, 1, 2, 0, 0], [1, 1, 2, 2, 0]), truth, "reference", classes)
    model = measured(rows([1, 0, 2, 2, 0], [1, 1, 2, 2, 0]), truth, "model", classes)
    found = {
        name: summarise([reference, model], resamples(2, 100, 0), read_primary(name))["differences"]["model"]
        for name in ("iou_per_image/salt", "iou/water")
    }
    gap = found["iou_per_image/salt"]["per_image/iou/salt"]
    assert (gap["value"], gap["better"], gap["worse"]) == (pytest.approx(-0.25), 0, 1)
    assert found["iou/water"]["pooled/iou/water"]["value"] == pytest.approx(0.25)
    assert found["iou/water"]["per_image/iou"]["value"] == pytest.approx(0)


def test_errors_on_empty_masks() -> None:
    truth = rows([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, VOID], [1, 1, 0, 0], [1, 1, 1, 0])
    model = measured(rows([1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]), truth)
    assert empty_masks(model, 0) == {
        "empty": 3,
        "empty_that_got_a_mask": 1,
        "median_size_of_these_masks": 2.0,
        "largest_of_these_masks": 2,
        "not_empty": 2,
        "not_empty_that_got_none": 1,
        "median_size_of_what_was_missed": 2.0,
        "largest_that_was_missed": 2,
    }


def test_tables_on_disk(tmp_path: Path) -> None:
    truth = rows([0, 0], [0, 0])  # nothing to find: there is no average precision
    model = measured(rows([0, 0], [1, 0]), truth)
    write_scores(tmp_path / "scores.csv", [model], read_primary("iou"))
    write_scores(tmp_path / "salt.csv", [model], read_primary("iou/salt"))  # compared by the column iou_salt
    assert "iou_salt" in (tmp_path / "salt.csv").read_text().partition("\n")[0]
    write_json(tmp_path / "summary.json", summarise([model], resamples(2, 100, 0)))
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["id"], line["iou"], line["accuracy"]) for line in lines] == [
        ("a", "000", "1.0", "1.0"),
        ("a", "001", "0.0", "0.5"),
    ]
    scores = json.loads((tmp_path / "summary.json").read_text())["models"]["a"]["scores"]
    assert scores["pooled/average_precision"] == {"value": None, "low": None, "high": None}
    assert scores["per_image/iou"]["value"] == 0.5


def test_cases_are_those_with_something_to_see() -> None:
    truth = rows([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0])
    model = measured(rows([1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]), truth)
    assert choose([model]) == [
        ("worst", 1),
        ("median", 2),
        ("best", 0),
        ("empty, but marked", 5),
        ("empty, but marked", 4),
    ]


def test_errors_are_drawn_in_patterns() -> None:
    image = np.zeros((40, 40, 1), np.uint8)
    truth, mask = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[:, 20:], mask[:, :20] = 1, 1  # the left half is false, the right half missed
    truth[:5] = VOID
    picture = errors(image, truth, mask)
    assert picture.shape == (320, 320, 3)
    assert not picture[:40].any()
    for half, colour in ((picture[40:, :160], FALSE), (picture[40:, 160:], MISSED)):
        drawn = (np.abs(half - 0.9 * colour) < 1).all(-1).mean()
        assert 0.2 < drawn < 0.6  # neither all nor nothing: stripes and dots


def test_equal_scores_of_many_images_are_drawn() -> None:
    truths = rows(*[[1 + i % 3, 1 + i % 3, 0, 0] for i in range(21)])
    model = measured(rows(*[[0, 0, 0, 0]] * 21), truths, classes=("a", "b", "c"))  # all 2/3, summed a little below
    assert iou_by_coverage([model], resamples(21, 100, 0)).axes
