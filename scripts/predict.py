"""Masks for images: `python scripts/predict.py checkpoint=runs/.../last.ckpt input=FILE_OR_FOLDER`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig, ListConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, mistakes_in_one_line
from unetkit.paths import path_of

if TYPE_CHECKING:
    from unetkit.prediction.files import OutputOptions


failures: list[str] = []


@hydra.main(config_path="../conf", config_name="predict", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write masks and what else is wanted; files that can't be read are named at the end."""
    with mistakes_in_one_line(f"stopped; the files in {cfg.output} are whole"):
        failed = predict_all(cfg)
    for line in failed:
        print(f"left out: {line}", file=sys.stderr)
    failures.extend(failed)


def predict_all(cfg: DictConfig) -> list[str]:
    """Predict every file and give the errors of those that could not be."""
    import torch

    from unetkit.checkpoints.files import find_checkpoints
    from unetkit.checkpoints.loading import load_ensemble
    from unetkit.data.files import find_images
    from unetkit.prediction.files import FilePredictor

    for key in ("checkpoint", "input"):
        if not cfg[key]:
            raise UserError(f"{key}= is missing; give checkpoint=FILE.ckpt and input=FILE_OR_FOLDER")
    wanted = read_output_options(cfg)
    ensemble = load_ensemble(
        find_checkpoints(cfg.checkpoint), cfg.device, tta=cfg.tta, tile=cfg.tile, overlap=cfg.overlap
    )
    if cfg.threshold is not None:
        if ensemble.classes > 2:
            raise UserError(
                f"threshold={cfg.threshold} is for one kind of foreground; of {ensemble.classes} classes the likeliest "
                "is taken, so leave it out"
            )
        ensemble.threshold = cfg.threshold
    if cfg.min_area is not None:
        ensemble.min_area = cfg.min_area
    predictor = FilePredictor(ensemble, wanted)
    try:
        predictor.run(find_images(path_of("input", cfg.input)))
    except torch.OutOfMemoryError as error:
        raise UserError(f"device={cfg.device} is out of memory; give a smaller tile= than {cfg.tile}") from error
    except OSError as error:
        places = f"output={cfg.output}" + (f" or submission={cfg.submission}" if cfg.submission else "")
        raise UserError(f"{places} can't be written ({error})") from error
    written = [f"{predictor.done} {kind} to {wanted.output / kind}" for kind in wanted.write]
    written += [f"{len(predictor.codes)} rows to {wanted.submission}"] if wanted.submission else []
    left_out = f"; {len(predictor.failed)} left out, see below" if predictor.failed else ""
    print(f"wrote {', '.join(written)}{left_out}")
    return predictor.failed


def read_output_options(cfg: DictConfig) -> "OutputOptions":
    """What to make of the images, with every key checked."""
    from unetkit.prediction.files import KINDS, MASK_FORMATS, OutputOptions

    write = [cfg.write] if isinstance(cfg.write, str) else list(cfg.write or [])
    if not set(write) <= set(KINDS) or not (write or cfg.submission):
        raise UserError(f"write={cfg.write} must be a list of {', '.join(KINDS)}, as in write=[masks,overlays]")
    if cfg.mask_format not in MASK_FORMATS:
        raise UserError(f"mask_format={cfg.mask_format} must be one of {', '.join(MASK_FORMATS)}")
    for key, least in (("tile", 1), ("overlap", 0), ("batch_size", 1)):
        if not isinstance(cfg[key], int) or cfg[key] < least:
            raise UserError(f"{key}={cfg[key]} must be an integer of at least {least}")
    if cfg.min_area is not None and not (isinstance(cfg.min_area, int) and cfg.min_area >= 0):
        raise UserError(f"min_area={cfg.min_area} must be an integer of at least 0")
    if cfg.submission and Path(str(cfg.submission)).is_dir():
        raise UserError(f"submission={cfg.submission} is a folder; give a file, as {cfg.submission}/submission.csv")
    if cfg.submission and Path(str(cfg.submission)).suffix.lower() != ".csv":
        raise UserError(f"submission={cfg.submission} must end in .csv, as Kaggle takes it")
    if cfg.threshold is not None and not (isinstance(cfg.threshold, int | float) and 0 <= cfg.threshold <= 1):
        raise UserError(f"threshold={cfg.threshold} must lie between 0 and 1")
    return OutputOptions(
        path_of("output", cfg.output),
        write,
        cfg.mask_format,
        path_of("submission", cfg.submission) if cfg.submission else None,
        cfg.batch_size,
        read_value_range(cfg.value_range),
        read_segy_bytes(cfg.segy_bytes),
    )


def read_segy_bytes(given: DictConfig) -> tuple[int, int]:
    """Where inline and crossline numbers begin."""
    places = [given.get(key) if isinstance(given, DictConfig) else given for key in ("inline", "crossline")]
    if not all(isinstance(place, int) for place in places):
        raise UserError(f"segy_bytes={given} must be two numbers, as in segy_bytes.inline=189 segy_bytes.crossline=193")
    return places[0], places[1]


def read_value_range(given: str | ListConfig | None) -> str | tuple[float, float] | None:
    """None, `auto` or two numbers."""
    if given is None or given == "auto":
        return None if given is None else "auto"
    numbers = isinstance(given, ListConfig) and len(given) == 2 and all(isinstance(x, int | float) for x in given)
    if not numbers or not given[0] < given[1]:
        raise UserError(f"value_range={given} must be auto, or two rising numbers, as in value_range=[-3000,3000]")
    return float(given[0]), float(given[1])


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "predict.yaml")
    sys.exit(1 if failures else 0)
