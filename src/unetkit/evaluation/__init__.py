from unetkit.evaluation.bootstrap import Interval, bootstrap, check_resampling, difference, resamples
from unetkit.evaluation.labelled import LabelledImages, check_images, images_of_folder
from unetkit.evaluation.measure import Measured, Measures, measure, measure_image
from unetkit.evaluation.models import Model, open_models
from unetkit.evaluation.paired import Comparison, Run, compare_runs, read_runs
from unetkit.evaluation.scores import LOWER_IS_BETTER, Statistic, per_image, statistics
from unetkit.evaluation.summary import Summary, empty_masks, git_commit, summarise, write_scores, write_summary

__all__ = [
    "LOWER_IS_BETTER",
    "Comparison",
    "Interval",
    "LabelledImages",
    "Measured",
    "Measures",
    "Model",
    "Run",
    "Statistic",
    "Summary",
    "bootstrap",
    "check_images",
    "check_resampling",
    "compare_runs",
    "difference",
    "empty_masks",
    "git_commit",
    "images_of_folder",
    "measure",
    "measure_image",
    "open_models",
    "per_image",
    "read_runs",
    "resamples",
    "statistics",
    "summarise",
    "write_scores",
    "write_summary",
]
