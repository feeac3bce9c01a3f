"""Evaluate models on images, and write a folder that a person can read: scores, figures and `report.html`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from unetkit.errors import writable
from unetkit.evaluation import (
    LabelledImages,
    Model,
    Summary,
    check_images,
    git_commit,
    measure,
    resamples,
    summarise,
    write_scores,
)
from unetkit.evaluation.primary import Primary, check_class, check_objects, optional_scores
from unetkit.paths import write_json
from unetkit.report.html import write_report


def evaluate_models(
    models: Sequence[Model],
    images: LabelledImages,
    folder: Path,
    times: int,
    seed: int,
    primary: Primary | None = None,
    extra: Sequence[Primary] | None = None,
) -> Summary:
    """Score models on the same images; write `scores.csv`, `summary.json`, `report.html` and `figures/`.

    Args:
        models: The models; the others are compared with the first.
        images: The images to score on.
        folder: Folder for the files; made if it does not exist.
        times: Number of resamples of the bootstrap.
        seed: Seed of the resamples.
        primary: The score that leads; None for that of the first model's run.
        extra: Further scores to compute; None for those of the first model's run.

    Raises:
        UserError: If models and images don't fit, an image can't be read, or the folder can't be written.
    """
    primary = models[0].primary() if primary is None else primary
    check_class(primary, images.classes)
    extra = models[0].extra() if extra is None else extra
    check_objects(primary, images.has_objects)
    for score in extra:
        check_objects(score, images.has_objects, "metrics.extra")
    optional = optional_scores([primary, *extra])
    warnings = check_images(models, images)
    if images.has_objects and images.scored_objects is None:
        warnings.append('Objects are not scored, as scikit-image is missing: pip install "unetkit[instances]".')
    for line in warnings:
        tqdm.write(f"warning: {line}", file=sys.stderr)
    with writable("output", folder):
        folder.mkdir(parents=True, exist_ok=True)
    measured = [
        measure(
            m.name,
            m.predictor,
            tqdm(images, m.name, unit="image"),
            images.classes,
            images.has_background,
            optional,
            images.scored_objects,
        )
        for m in models
    ]
    draws = resamples(len(measured[0].ids), times, seed)
    summary = summarise(measured, draws, primary)
    summary |= {
        "primary": primary.name,
        "data": images.name,
        "tta": models[0].predictor.tta,
        "seed": seed,
        "git_commit": git_commit(),
        "warnings": warnings,
    }
    for model in models:
        summary["models"][model.name] |= {"checkpoint": str(model.path), "sha256": model.digest}
    with writable("output", folder):
        write_scores(folder / "scores.csv", measured, primary)
        write_json(folder / "summary.json", summary)
        write_report(folder, models, measured, images, summary, draws, primary)
    return summary
