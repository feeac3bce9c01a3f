"""What W&B, TensorBoard and MLflow get beside the scores of each epoch: curves, pictures, tables, checkpoints."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import matplotlib as mpl
import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from matplotlib.figure import Figure

from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError
from unetkit.evaluation import LabelledImages, Measured, measure, per_image
from unetkit.metrics import THRESHOLDS, iou, precision, recall, threshold_counts
from unetkit.plots.images import Image
from unetkit.plots.ranking import evenly
from unetkit.report import figures
from unetkit.training.module import SegmentationModule
from unetkit.training.wandb_run import LastingWandbLogger

MEASURED, IN_TABLE = 200, 32  # most validation images that curves are of, and that the table of predictions shows
FACTS = ("parameters", "epochs", "images_per_second", "data_wait", "peak_memory_mib", "seconds")  # of summary.json


@contextmanager
def loggers_closed(trainer: L.Trainer) -> Iterator[None]:
    """End the runs of W&B and MLflow after this block, also if it fails, so that no later run writes to them."""
    is_good = False
    try:
        yield
        is_good = True
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, LastingWandbLogger):
                logger.close(is_good=is_good)
            elif isinstance(logger, MLFlowLogger):
                logger.finalize("success" if is_good else "failed")


def define_scores(trainer: L.Trainer, names: Sequence[str]) -> None:
    """Let the summary of W&B hold the best and last value of the scores that are validated."""
    for logger in trainer.loggers:
        if isinstance(logger, LastingWandbLogger):
            logger.define_scores(names)


def send_results(
    trainer: L.Trainer,
    module: SegmentationModule,
    data: SegmentationDataModule,
    run_dir: Path,
    summary: Mapping[str, Any],
) -> None:
    """Send the facts, curves, predictions and checkpoints of a run that is done to its loggers.

    Args:
        trainer: The trainer, whose loggers they are.
        module: The trained network.
        data: The data.
        run_dir: Folder of the run.
        summary: Content of its `summary.json`.
    """
    loggers = [x for x in trainer.loggers if isinstance(x, LastingWandbLogger | TensorBoardLogger | MLFlowLogger)]
    if not loggers:
        return
    best = summary["best"]
    facts = {f"best/{best['monitor']}": best["score"], **{key: summary[key] for key in FACTS}}
    facts = {key: value for key, value in facts.items() if value is not None}
    try:
        measured = None if data.is_multilabel else _measure(module, data)  # labels that overlap have no such matrix
    except UserError:  # NaN, with stop_on_nan=false
        measured = None
    for logger in loggers:
        if isinstance(logger, LastingWandbLogger):
            logger.log_results({} if measured is None else _for_wandb(measured, module, data), facts)
            if logger.artifacts:
                send_checkpoints(logger, data, run_dir, summary)
        else:
            logger.log_metrics({f"summary/{key}": value for key, value in facts.items()}, trainer.global_step)
            for name, picture in ({} if measured is None else _drawn(measured)).items():
                send_picture(logger, f"curves/{name}", picture, trainer.global_step)


def send_picture(logger: Logger, key: str, picture: Image, step: int) -> None:
    """Send a picture (H, W, 3) to TensorBoard or MLflow."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(key, np.ascontiguousarray(picture), step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(str(logger.run_id), np.ascontiguousarray(picture), f"{key}/step-{step}.png")


def send_checkpoints(
    logger: LastingWandbLogger, data: SegmentationDataModule, run_dir: Path, summary: Mapping[str, Any]
) -> None:
    """Log the last and the best checkpoint as versions of one artifact, made from data with a fingerprint.

    W&B can name the data as an input only online; offline, the fingerprint stands in the artifact's metadata.
    """
    import wandb

    run = logger.experiment
    source = {"data": data.name, "fingerprint": data.split.digest}
    if not run.offline and not run.disabled:
        dataset = wandb.Artifact(_name(f"data-{data.name}"), "dataset", metadata=source)
        dataset.add_file(str(run_dir / "split.csv"))
        run.use_artifact(dataset)
    for kind, alias in (("best", "best"), ("last", "latest")):  # in this order, as W&B moves `latest` to each version
        file = run_dir / "checkpoints" / f"{kind}.ckpt"
        if file.exists():
            score = {summary["best"]["monitor"]: summary["best"]["score"]} if kind == "best" else {}
            artifact = wandb.Artifact(_name(f"model-{run.id}"), "model", metadata={**source, **score})
            artifact.add_file(str(file), name=file.name)
            run.log_artifact(artifact, aliases=[alias])


def _measure(module: SegmentationModule, data: SegmentationDataModule) -> Measured:
    """Measure the network on validation images, spread evenly over all of them."""
    images = LabelledImages(data, "val")
    shown = (images[item] for item in evenly(len(images), MEASURED))
    return measure("validation", module.predictor(), shown, images.classes, images.has_background)


def _figures(measured: Measured) -> dict[str, Figure]:
    return {"precision_recall": figures.precision_recall([measured]), "confusion": figures.confusion([measured])}


def _drawn(measured: Measured) -> dict[str, Image]:
    """Return the curves as pictures."""
    drawn = {}
    with mpl.rc_context(figures.STYLE):
        for name, figure in _figures(measured).items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100)
            content = np.frombuffer(buffer.getvalue(), np.uint8)
            drawn[name] = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return drawn


def _for_wandb(measured: Measured, module: SegmentationModule, data: SegmentationDataModule) -> dict[str, Any]:
    """Return the curves, the confusion matrix, and a table of predictions, as W&B shows them."""
    import wandb

    names = [*(["background"] if measured.has_background else []), *measured.classes]
    matrix = measured.measures.confusion.sum(0).tolist()
    cells = [[true, found, matrix[i][j]] for i, true in enumerate(names) for j, found in enumerate(names)]
    fields = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
    values = {
        "confusion_matrix": wandb.plot_table(
            "wandb/confusion_matrix/v1", wandb.Table(columns=list(fields), data=cells), fields
        ),
        "predictions_table": _predictions(measured, module, data),
    }
    for label, name in enumerate(measured.classes):
        counts = threshold_counts(measured.measures.curves[:, label].sum(0))
        columns = [THRESHOLDS, precision(counts), recall(counts), iou(counts)]
        rows = [[round(float(x), 6) for x in row] for row in zip(*columns, strict=True)]
        table = wandb.Table(columns=["threshold", "precision", "recall", "iou"], data=rows)
        values[f"curves/precision_recall/{name}"] = wandb.plot.line(table, "recall", "precision", title=f"{name}: PR")
        table = wandb.Table(columns=["threshold", "precision", "recall", "iou"], data=rows)
        values[f"curves/threshold/{name}"] = wandb.plot.line(
            table, "threshold", "iou", title=f"{name}: IoU by threshold"
        )
    return values


def _predictions(measured: Measured, module: SegmentationModule, data: SegmentationDataModule) -> Any:
    """Return a table with a row for each of some validation images: its masks and scores."""
    import wandb

    from unetkit.training.image_logger import masks_of_wandb, predict_shown, shown_pair

    scores = {name: values.mean(1) for name, values in per_image(measured).items() if name in ("iou", "dice")}
    places = {id: place for place, id in enumerate(measured.ids)}
    table = wandb.Table(columns=["image", "prediction", *scores])
    dataset, predictor = data.dataset("val"), module.predictor()
    for item in islice(evenly(len(dataset), MEASURED), IN_TABLE):
        pair = dataset[item]
        id = data.found.pairs[pair["index"]].id
        if id in places:  # else it is void throughout
            image, truth, predicted = shown_pair(pair, predict_shown(predictor, pair, data), data)
            picture = wandb.Image(image, masks=masks_of_wandb(data, {"truth": truth, "prediction": predicted}))
            table.add_data(id, picture, *(round(values[places[id]].item(), 4) for values in scores.values()))
    return table


def _name(text: str) -> str:
    """Return a name that W&B takes for an artifact."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)[:128]
