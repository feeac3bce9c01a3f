"""Scores, figures and a report: `python scripts/evaluate.py checkpoint=runs/.../last.ckpt`, or `checkpoint=[A,B]`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig, ListConfig
from tqdm import tqdm

from unetkit.errors import UserError, mistakes_in_one_line

if TYPE_CHECKING:
    from unetkit.evaluation import LabelledImages, Model, Summary

MAIN = ("per_image/iou", "per_image/dice", "per_image/kaggle", "pooled/iou")


@hydra.main(config_path="../conf", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write `scores.csv`, `summary.json`, `report.html` and `figures/`, and tell the main scores."""
    with mistakes_in_one_line():
        summary = evaluate(cfg)
    for name, model in summary["models"].items():
        print(name)
        for score in MAIN:
            value, low, high = model["scores"][score].values()
            print(f"  {score:<20}{value:.4f}  95 % interval {low:.4f} to {high:.4f}")
    for name, scores in summary["differences"].items():
        value, low, high, better, worse = scores["per_image/iou"].values()
        print(
            f"{name} less {next(iter(summary['models']))}: per_image/iou {value:+.4f} ({low:+.4f} to {high:+.4f}), ",
            end="",
        )
        print(f"better on {better} images, worse on {worse}")
    print(f"{summary['images']} images; wrote report.html, scores.csv, summary.json and figures/ to {cfg.output}")


def evaluate(cfg: DictConfig) -> "Summary":
    """Score all models on the same images."""
    from unetkit.evaluation import measure, open_models, resamples, summarise, write_scores, write_summary
    from unetkit.evaluation.models import choose_device
    from unetkit.records import git_commit
    from unetkit.report import write_report

    if cfg.checkpoint is None:
        raise UserError("checkpoint= is missing; give checkpoint=FILE.ckpt, or several as checkpoint=[A,B]")
    if not isinstance(cfg.bootstrap, int) or cfg.bootstrap < 100:
        raise UserError(f"bootstrap={cfg.bootstrap} must be a whole number of at least 100")
    paths = cfg.checkpoint if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    models = open_models(paths, cfg.names, choose_device(cfg.device))
    images = find_images(cfg, models[0])
    warnings = check(models, images)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    measured = [
        measure(model.name, model.predictor, tqdm(images, model.name, unit="image"), images.classes) for model in models
    ]
    draws = resamples(len(measured[0].ids), cfg.bootstrap, cfg.seed)
    summary = summarise(measured, draws)
    summary |= {"data": images.name, "seed": cfg.seed, "git_commit": git_commit(), "warnings": warnings}
    for model in models:
        summary["models"][model.name] |= {"checkpoint": str(model.path), "sha256": model.digest}
    output = Path(cfg.output).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    write_scores(output / "scores.csv", measured)
    write_summary(output / "summary.json", summary)
    write_report(output, models, measured, images, summary, draws, warnings)
    return summary


def find_images(cfg: DictConfig, first: "Model") -> "LabelledImages":
    """The images of `input=` or `data=`, or those that the first checkpoint's run kept for validation."""
    from unetkit.evaluation import LabelledImages, of_config, of_folder, of_run

    if cfg.input is not None and cfg.data is not None:
        raise UserError(f"input={cfg.input} and data={cfg.data.name} both say what to score on; give one")
    if cfg.input is not None:
        values = list(range(first.num_classes)) if first.num_classes > 2 else None
        return LabelledImages(of_folder(cfg.input, cfg.cache_dir, values), cfg.part or "all")
    if cfg.data is not None:
        return LabelledImages(of_config(cfg.data), cfg.part or "all")
    if first.run is None:
        raise UserError(
            f"checkpoint={first.path} lies in no run directory (config.yaml, split.csv), so it is not known which "
            "images it was not trained on; give input=FOLDER of images/ and masks/, or data= and data.root="
        )
    return LabelledImages(of_run(first.run), cfg.part or "val")


def check(models: Sequence["Model"], images: "LabelledImages") -> list[str]:
    """Refuse masks with another number of classes; give what to know before believing the scores."""
    warnings = []
    for model in models:
        if max(model.num_classes, 2) != max(images.num_classes, 2):
            raise UserError(
                f"checkpoint={model.path} predicts {max(model.num_classes, 2)} classes, the masks of {images.name} "
                f"have {max(images.num_classes, 2)}; see data.mask_values"
            )
        seen = len(model.trained_on() & set(images.ids))
        if seen:
            warnings.append(
                f"{seen} of the {len(images)} images have the names of images that {model.name} was trained on: "
                "its scores on them say little about new images."
            )
    return warnings


if __name__ == "__main__":
    main()
