from unetkit.evaluation.bootstrap import Interval, bootstrap, check_resampling, difference, resamples
from unetkit.evaluation.commit import git_commit
from unetkit.evaluation.labelled import LabelledImages, check_images, first_readable, images_of_folder
from unetkit.evaluation.measure import Measured, Measures, measure, measure_image
from unetkit.evaluation.models import Model, open_models
from unetkit.evaluation.paired import Comparison, compare_runs
from unetkit.evaluation.registry import MAIN, SCORES, ScoreEntry, all_keys, kind_of, score_of
from unetkit.evaluation.runs import ScoredRun, read_runs
from unetkit.evaluation.scores_csv import write_scores
from unetkit.evaluation.statistics import Statistic, per_image, statistics
from unetkit.evaluation.summarise import Summary, empty_masks, summarise

__all__ = [
    "MAIN",
    "SCORES",
    "Comparison",
    "Interval",
    "LabelledImages",
    "Measured",
    "Measures",
    "Model",
    "ScoreEntry",
    "ScoredRun",
    "Statistic",
    "Summary",
    "all_keys",
    "bootstrap",
    "check_images",
    "check_resampling",
    "compare_runs",
    "difference",
    "empty_masks",
    "first_readable",
    "git_commit",
    "images_of_folder",
    "kind_of",
    "measure",
    "measure_image",
    "open_models",
    "per_image",
    "read_runs",
    "resamples",
    "score_of",
    "statistics",
    "summarise",
    "write_scores",
]
