"""k-fold cross-validation: each image is scored by the network of the fold that did not train on it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from unetkit.checkpoints.checkpoint import Checkpoint, save_weights
from unetkit.evaluation import (
    LabelledImages,
    Measured,
    Summary,
    measure,
    open_models,
    resamples,
    summarise,
    write_scores,
)
from unetkit.evaluation.primary import found_in, optional_scores, read_extra, read_primary
from unetkit.paths import command_line, short_path, whole_file, write_json
from unetkit.run_files import read_json
from unetkit.training.folds import check_images, check_keys, check_same_recipe, chosen_folds, count_at_once, device_of
from unetkit.training.monitor import set_modes
from unetkit.training.post_processing import PostProcessing, choose, fold_scores, is_fitted_to, together
from unetkit.training.renamed import use_new_names
from unetkit.training.run import train
from unetkit.training.run_data import data_of_run
from unetkit.training.run_names import label
from unetkit.training.side_by_side import Member, SideBySide

log = logging.getLogger(__name__)

# What the summary of all folds takes from that of the first.
FACTS = ("task_name", "tags", "parameters", "epochs", "precision", "device", "versions", "git_commit")
OF_A_CLASS = ("pooled/iou", "per_image/iou", "per_image/dice")  # keys of what is logged of each class


def cross_validate(cfg: DictConfig) -> Summary:
    """Train the folds that are not done, score each on its own validation images, and summarise all folds.

    `cfg.run_dir` gets `fold-0`, ... (run directories), `scores.csv` (each image, scored by the network that has not
    seen it), `summary.json`, and `ensemble/` with the weights of each fold. These are of all folds that are done there,
    so that folds can be trained side by side. For binary masks, the threshold and least area with the best
    `metrics.primary` are stored with the weights, if it rises when each fold uses the values chosen on the other folds.

    Raises:
        UserError: If the configuration or the data have a mistake, or folds were trained there with another recipe or
            other images.
    """
    base = Path(cfg.run_dir)
    use_new_names(cfg)
    set_modes(cfg)
    if cfg.data.split == "fraction":
        cfg.data.split = "kfold"
    check_keys(cfg)
    folds = chosen_folds(cfg)
    check_same_recipe(cfg, base)
    check_images(cfg, base)
    train_folds(cfg, {base / f"fold-{fold}": fold for fold in folds})
    runs = [run for fold in range(cfg.data.folds) if is_done(run := base / f"fold-{fold}")]
    measured = [measure_fold(run, cfg) for run in runs]
    summary, chosen = summarise_folds(cfg, runs, measured)
    write_ensemble(base / "ensemble", runs, chosen)
    write_scores(base / "scores.csv", [together(measured)], read_primary(cfg.metrics.primary))
    write_json(base / "summary.json", summary)
    log_results(summary, base)
    return summary


def leading_score(summary: Summary) -> float:
    """Return the leading score of all folds, for sweeps that optimise it."""
    return found_in(summary["models"]["out of fold"], read_primary(summary["primary"]))["value"]


def is_done(run: Path) -> bool:
    """Return whether the fold of this run directory has been trained to its end."""
    return (run / "summary.json").exists()


def train_folds(cfg: DictConfig, folds: Mapping[Path, int]) -> None:
    """Train the folds that are not done, each in its own run directory; several at once where that is free.

    A fold that fails leaves those that are trained beside it, and those after them, to be trained.

    Args:
        cfg: The configuration of all folds.
        folds: Numbers of the folds, by their run directories.

    Raises:
        UserError: If a fold failed.
    """
    for run in filter(is_done, folds):
        log.info("%s is done already", short_path(run))
    left = [run for run in folds if not is_done(run)]
    count = count_at_once(cfg, len(left))
    if count == 1:
        for run in left:
            train_fold(cfg, folds[run], run)
        return
    failed: dict[str, BaseException] = {}
    for first in range(0, len(left), count):
        jobs = {run.name: partial(train_fold, cfg, folds[run], run) for run in left[first : first + count]}
        failed |= SideBySide(jobs, device_of(cfg), cfg.trainer.max_time).run()
    for name, error in failed.items():
        log.error("%s: %s", name, error)
    if failed:
        raise next(iter(failed.values()))


def train_fold(cfg: DictConfig, fold: int, run: Path, member: Member | None = None) -> None:
    """Train a fold in its own run directory; resume it if it was interrupted."""
    last = run / "checkpoints" / "last.ckpt"
    own = OmegaConf.merge(cfg, {"run_dir": str(run), "data": {"fold": fold}})
    assert isinstance(own, DictConfig)  # narrows the type for mypy
    own.checkpoint = str(last) if last.exists() else None
    where = run.absolute()
    label(own, run.name, str(Path(*where.parts[-3:-1])), "fold")
    log.info("fold %d of %d", fold, cfg.data.folds)
    train(own, member=member)


def measure_fold(run: Path, cfg: DictConfig) -> Measured:
    """Measure the network of a fold on its validation images."""
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    (model,) = open_models([str(run)], [run.name], device, cfg.cross_validation.tta)
    images = LabelledImages(data_of_run(run, cfg.data.cache_dir), "val")
    shown = tqdm(images, run.name, unit="image", disable=not cfg.trainer.enable_progress_bar)
    primary = read_primary(cfg.metrics.primary)
    optional = optional_scores([primary, *read_extra(cfg.metrics.get("extra"))])
    at_thresholds = primary.entry if primary.entry.source == "masks" else None
    return measure(
        run.name,
        model.predictor,
        shown,
        images.classes,
        images.has_background,
        optional,
        images.scored_objects,
        at_thresholds,
    )


def summarise_folds(
    cfg: DictConfig, runs: Sequence[Path], measured: Sequence[Measured]
) -> tuple[Summary, PostProcessing | None]:
    """Return the content of `summary.json`, and the post-processing of binary masks."""
    whole, primary = together(measured), read_primary(cfg.metrics.primary)
    summary = summarise([whole], resamples(len(whole.ids), cfg.cross_validation.bootstrap, cfg.seed))
    records = [read_json(run / "summary.json") for run in runs]
    summary["folds"] = {
        run.name: fold_scores(fold, primary) | {"seconds": record["seconds"]}
        for run, fold, record in zip(runs, measured, records, strict=True)
    }
    first = records[0]
    facts = {key: first[key] for key in FACTS if key in first}  # folds of earlier versions lack some
    summary |= {"primary": primary.name, "tta": cfg.cross_validation.tta, "seed": cfg.seed} | facts
    summary["data"] = {key: first["data"][key] for key in ("name", "split", "folds", "seed")}
    chosen = None
    if whole.measures.confusion.shape[1:] == (2, 2):
        if is_fitted_to(primary, measured):
            chosen, summary["post_processing"] = choose(measured, primary)
        else:
            log.info("the threshold is that of training: none is fitted to %s of these data", primary.name)
    return summary, chosen


def write_ensemble(folder: Path, runs: Sequence[Path], chosen: PostProcessing | None) -> None:
    """Write a checkpoint of each fold without the state of its training, with the chosen post-processing."""
    for run in runs:
        checkpoint = Checkpoint.read(run / "checkpoints" / "last.ckpt")
        metadata = replace(checkpoint.metadata, **(chosen._asdict() if chosen else {}))
        with whole_file(folder / f"{run.name}.ckpt") as part:
            save_weights(part, metadata, checkpoint.state_dict, checkpoint.epoch)


def log_results(summary: Summary, base: Path) -> None:
    """Log the scores, and the next command."""
    where = short_path(base)
    for name, scores in summary["folds"].items():
        shown = ", ".join(f"{key} {value:.4f}" for key, value in scores.items() if key != "seconds")
        log.info("%s: %s, %.0f s", name, shown, scores["seconds"])
    model, primary = summary["models"]["out of fold"], read_primary(summary["primary"])
    interval = "%s %.4f, 95 %% interval %.4f to %.4f, tta=%s"
    log.info(f"out of fold: {interval}", primary.name, *found_in(model, primary).values(), summary["tta"])
    for name, scores in model["classes"].items():
        shown = ", ".join(f"{key} {scores[key]['value']:.4f}" for key in OF_A_CLASS)
        log.info("out of fold, %s: %s", name, shown)
    if "post_processing" in summary:
        chosen = summary["post_processing"]
        gains = chosen["score_of_others_choice"]
        log.info(
            "threshold %g and least area %d are used; the best on all folds are %g and %d; %s",
            chosen["threshold"],
            chosen["min_area"],
            *chosen["fitted"].values(),
            "with one fold there is no other to test them on"
            if gains is None
            else f"{chosen['score']} is {gains:.4f} if each fold uses those chosen on the others",
        )
    log.info("wrote scores.csv, summary.json and ensemble/ to %s", where)
    log.info("next: %s", command_line("predict", f"checkpoint={where}", "input=FILE_OR_FOLDER", "tta=flip"))
