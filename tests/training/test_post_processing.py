"""Threshold and least area are chosen on images that the networks have not seen, and used only if that gains."""

import numpy as np
import torch

from unetkit.evaluation import Measured, Measures, measure_image
from unetkit.evaluation.primary import read_primary
from unetkit.metrics import kaggle_score
from unetkit.prediction.predictor import Prediction
from unetkit.training.post_processing import PostProcessing, choose, fit, grid, is_fitted_to, score_of_others_choice

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
    assert (kaggle_score(grid(measured(speck, body), 5)) == 1).all()
    assert (kaggle_score(grid(measured(speck, body), 0)).mean(0) == 0.5).all()


def test_a_choice_is_judged_by_images_that_did_not_make_it() -> None:
    # In one fold everything above 0.3 is true, in the other everything above 0.7: each choice fails on the other.
    low = measured(([0.5] * 6 + [0.25] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    assert score_of_others_choice([low, high], KAGGLE) == 0.0
    assert score_of_others_choice([low], KAGGLE) is None


def test_a_choice_that_does_not_gain_is_not_used() -> None:
    low = measured(([0.6] * 6 + [0.3] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    used, said = choose([low, high], KAGGLE)  # fitted, low's choice is wrong for high, and high's for low
    assert used == PostProcessing(0.5, 0)
    assert said["score_of_others_choice"] == 0.0
    used, said = choose([high, high], KAGGLE)
    assert said["fitted"] == used._asdict() == {"threshold": 0.6, "min_area": 0}
    assert choose([high], KAGGLE)[0] == PostProcessing(0.5, 0)  # nobody to judge


def test_the_leading_score_chooses_an_error_too_and_none_of_whole_masks() -> None:
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
    fitted = {name: is_fitted_to(read_primary(name)) for name in ("kaggle", "pixel_error", "boundary_iou", "v_rand")}
    assert fitted == {"kaggle": True, "pixel_error": True, "boundary_iou": False, "v_rand": False}
