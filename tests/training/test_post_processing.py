"""Threshold and least area are chosen on images that the networks have not seen, and used only if that gains."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unetkit.evaluation import Measured, Measures, measure, measure_image
from unetkit.evaluation.measure import MASK_THRESHOLDS, scores_at_thresholds
from unetkit.evaluation.primary import read_primary, value_of
from unetkit.metrics import Counts, kaggle_score
from unetkit.prediction.predictor import Prediction
from unetkit.training.post_processing import PostProcessing, choose, fit, grid, is_fitted_to, together

KAGGLE = read_primary("kaggle")


def measured(*images: tuple[list[float], list[int]]) -> Measured:
    """Images of one row, each as probabilities and truth."""
    rows = []
    for values, truth in images:
        probability = np.array([values], np.float32)
        mask = (probability > 0.5).astype(np.uint8)
        rows.append(measure_image(Prediction(probability, mask), np.array([truth], np.uint8), 2))
    measures = Measures(*(torch.stack(column) for column in zip(*rows, strict=True)))
    return Measured("x", tuple(map(str, range(len(images)))), ("foreground",), 0.5, measures)


def test_the_best_threshold_and_area_are_found() -> None:
    # True pixels lie above 0.6, others at 0.55: a threshold from 0.55 to 0.6 is right for all images.
    image = ([0.9] * 8 + [0.55] * 4, [1] * 8 + [0] * 4)
    assert 0.55 <= fit([measured(image)], KAGGLE).threshold < 0.6 + 1e-6
    # A speck of 3 sure pixels that is not there, and 10 that are: masks of fewer than 5 (or 10) pixels must go.
    speck, body = ([0.9] * 3 + [0.1] * 9, [0] * 12), ([0.9] * 10 + [0.1] * 2, [1] * 10 + [0] * 2)
    assert fit([measured(speck, body)], KAGGLE) == PostProcessing(0.5, 5)
    assert (kaggle_score(Counts(*grid(measured(speck, body), 5, KAGGLE))) == 1).all()
    assert (kaggle_score(Counts(*grid(measured(speck, body), 0, KAGGLE))).mean(0) == 0.5).all()


def test_a_choice_is_judged_by_images_that_did_not_make_it() -> None:
    # In one fold everything above 0.3 is true, in the other everything above 0.7: each choice fails on the other.
    low = measured(([0.5] * 6 + [0.25] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    said = choose([low, high], KAGGLE)[1]
    assert said["score_of_others_choice"] == 0.0
    assert [choice["threshold"] for choice in said["others_choice"]] == [
        fit([fold], KAGGLE).threshold for fold in (high, low)
    ]
    assert choose([low], KAGGLE)[1]["score_of_others_choice"] is None


def test_a_choice_that_does_not_gain_is_not_used() -> None:
    low = measured(([0.6] * 6 + [0.3] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    used, said = choose([low, high], KAGGLE)  # fitted, low's choice is wrong for high, and high's for low
    assert used == PostProcessing(0.5, 0)
    assert said["score_of_others_choice"] == 0.0
    used, said = choose([high, high], KAGGLE)
    assert said["fitted"] == used._asdict() == {"threshold": 0.6, "min_area": 0}
    assert choose([high], KAGGLE)[0] == PostProcessing(0.5, 0)  # nobody to judge


def test_the_leading_score_chooses_an_error_too() -> None:
    # 24 of 30 true pixels lie above 0.7, where nothing else does: the IoU is 0.8, and below 0.7 it is 0.6.
    sure, unsure = [0.9] * 24 + [0.6] * 6, [0.65] * 20
    image = (sure + unsure, [1] * 30 + [0] * 20)
    # The many pixels of a large image, which is better at 0.5, decide pooled scores, and not those of images.
    large = ([0.9] * 400 + [0.6] * 400 + [0.1] * 200, [1] * 800 + [0] * 200)
    fold = [measured(image), measured(image), measured((large[0], large[1]))]
    assert fit(fold[:2], read_primary("iou_per_image")).threshold > 0.6
    assert fit(fold, read_primary("iou")).threshold < 0.6
    used, said = choose(fold[:2], read_primary("pixel_error"))
    assert used.threshold > 0.6
    assert said["score_of_others_choice"] == 6 / 50  # 20 + 0 at 0.5


V_RAND = read_primary("v_rand")


def with_cells(gap: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Two cells, and a membrane whose middle the network takes for a cell with probability `gap`."""
    truth = np.ones((24, 24), np.uint8)
    truth[:, 12] = 0
    probability = np.where(truth, 0.92, 0.02).astype(np.float32)
    probability[12, 12] = gap
    return probability, truth


def measured_cells(*gaps: float) -> Measured:
    """Measure images of two cells, at each threshold, too."""
    images = [(f"{gap}", *with_cells(gap)) for gap in gaps]
    predictor: Any = SimpleNamespace(
        threshold=0.5, is_multilabel=False, preprocessing=SimpleNamespace(to_uint8=lambda x, _: x)
    )
    predictor.predict_prepared = lambda p: Prediction(p, (p > 0.5).astype(np.uint8))
    return measure("x", predictor, images, ("cell",), optional=("v_rand",), at_thresholds=V_RAND.entry)


def test_a_score_of_whole_masks_is_that_of_the_mask_at_each_threshold() -> None:
    probability, truth = with_cells(0.62)
    scores = scores_at_thresholds(probability, truth, V_RAND.entry)
    for threshold, score in zip(MASK_THRESHOLDS, scores.tolist(), strict=True):
        mask = (probability > threshold).astype(np.uint8)
        of_masks = measure_image(Prediction(probability, mask), truth, 2, optional=("v_rand",)).of_masks
        assert of_masks[0, -1] == score
        assert (score == 1) == (0.62 < threshold < 0.92)


def test_a_score_of_whole_masks_chooses_a_threshold() -> None:
    folds = [measured_cells(0.62, 0.3), measured_cells(0.55, 0.1), measured_cells(0.72, 0.2)]
    used, said = choose(folds, V_RAND)
    assert used == PostProcessing(0.75, 0)
    assert [choice["threshold"] for choice in said["others_choice"]] == [0.75, 0.75, 0.65]
    joined = V_RAND.entry.of_masks(np.ones((24, 24), bool), with_cells(0)[1] > 0, np.ones((24, 24), bool))
    assert 0.6 < joined < 0.8
    assert said["score_of_others_choice"] == round((5 + joined) / 6, 6)  # at 0.65, the cells at 0.72 are joined
    assert [choice["score"] for choice in said["others_choice"]] == [1, 1, round((1 + joined) / 2, 6)]
    assert value_of(together(folds), V_RAND) == pytest.approx((3 + 3 * joined) / 6)


def test_some_scores_fit_no_threshold() -> None:
    fold = measured(([0.9, 0.1], [1, 0]))  # without scores at thresholds, as of volumes
    fitted = {name: is_fitted_to(read_primary(name), [fold]) for name in ("kaggle", "pixel_error", "v_rand", "ap")}
    assert fitted == {"kaggle": True, "pixel_error": True, "v_rand": False, "ap": False}
    assert is_fitted_to(V_RAND, [measured_cells(0.62)])
