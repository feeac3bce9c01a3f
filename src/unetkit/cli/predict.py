"""Predict the masks of images: `unetkit predict checkpoint=runs/.../last.ckpt input=FILE_OR_FOLDER`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, ListConfig

from unetkit.cli.start import start
from unetkit.data.preprocessing import rising
from unetkit.errors import UserError, check, is_whole, mistakes_in_one_line, writable
from unetkit.paths import config_dir, path_of

if TYPE_CHECKING:
    from unetkit.prediction.ensemble import Ensemble
    from unetkit.prediction.files import FilePredictor
    from unetkit.prediction.options import OutputOptions


failures: list[str] = []


@hydra.main(config_path=str(config_dir()), config_name="predict", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write masks and what else is wanted; files that can't be read are named at the end."""
    with mistakes_in_one_line(f"stopped; the files in {cfg.output} are whole"):
        failed = predict_all(cfg)
    for line in failed:
        print(f"left out: {line}", file=sys.stderr)
    failures.extend(failed)


def predict_all(cfg: DictConfig) -> list[str]:
    """Predict every file and return the errors of those that could not be predicted."""
    for key in ("checkpoint", "input"):
        if not cfg[key]:
            raise UserError(f"{key}=", "is missing", "give checkpoint=FILE.ckpt and input=FILE_OR_FOLDER")

    from unetkit.data.layout.inputs import find_images
    from unetkit.data.limits import decoding_at_most
    from unetkit.prediction.files import FilePredictor

    options = read_output_options(cfg)
    predictor = FilePredictor(load(cfg), options)
    outputs = f"{cfg.output}" + (f" or submission={cfg.submission}" if cfg.submission else "")
    or_else = "cut it into tiles, save it as .npy, which is read by windows"
    with writable("output", outputs), decoding_at_most(cfg.max_pixels, "max_pixels", or_else):
        ensemble = predictor.ensemble
        given = cfg.input if isinstance(cfg.input, ListConfig) else [cfg.input]
        places = [path_of("input", place) for place in given]
        predictor.run(find_images(places, ensemble.channel_files, volumes=ensemble.has_volumes))
    print(described(predictor, options))
    return predictor.failed


def load(cfg: DictConfig) -> "Ensemble":
    """Load the checkpoints, whose threshold and least area the configuration may replace."""
    from unetkit.checkpoints.files import find_checkpoints
    from unetkit.checkpoints.loading import load_ensemble
    from unetkit.models import check_threshold

    paths = find_checkpoints(cfg.checkpoint)
    ensemble = load_ensemble(paths, cfg.device, tta=cfg.tta, tile=cfg.tile, overlap=cfg.overlap)
    if cfg.threshold is not None:
        check_threshold(cfg.threshold, 2 if ensemble.labels else ensemble.classes)
        ensemble.threshold = cfg.threshold
    if cfg.min_area is not None:
        ensemble.min_area = cfg.min_area
    return ensemble


def described(predictor: "FilePredictor", options: "OutputOptions") -> str:
    """Return the line that says what was written, and where."""
    places = {kind: options.output if options.is_file else options.output / kind for kind in options.write}
    counts = {"masks": predictor.masks}
    written = [f"{counts.get(kind, predictor.done)} {kind} to {place}" for kind, place in places.items()]
    written += [f"{predictor.done} numbered masks to {options.output / 'instances'}"] if options.instances else []
    written += [f"{len(predictor.codes)} rows to {options.submission}"] if options.submission else []
    left_out = f"; {len(predictor.failed)} left out, see below" if predictor.failed else ""
    return f"wrote {', '.join(written)}{left_out}"


def read_output_options(cfg: DictConfig) -> "OutputOptions":
    """Return what to write, with every key checked.

    Raises:
        UserError: If a key is out of range.
    """
    from unetkit.models import check_threshold
    from unetkit.prediction.options import AUTO, MASK_FORMATS, OutputOptions

    for key in ("stacks", "instances"):
        check(key, cfg[key], isinstance(cfg[key], bool), "true or false")
    formats = AUTO, *MASK_FORMATS
    check("mask_format", cfg.mask_format, cfg.mask_format in formats, f"one of {', '.join(formats)}")
    for key, least in (("tile", 1), ("overlap", 0), ("batch_size", 1)):
        check(key, cfg[key], is_whole(cfg[key], least), f"an integer of at least {least}")
    check("min_area", cfg.min_area, cfg.min_area is None or is_whole(cfg.min_area, 0), "an integer of at least 0")
    if cfg.threshold is not None:
        check_threshold(cfg.threshold)
    output = path_of("output", cfg.output)
    is_file = is_one_file(output)
    return OutputOptions(
        output,
        read_kinds(["masks"] if is_file else cfg.write, cfg.submission),
        format_of(output, cfg.mask_format) if is_file else cfg.mask_format,
        read_submission(cfg.submission),
        cfg.batch_size,
        read_value_range(cfg.value_range),
        read_segy_bytes(cfg.segy_bytes),
        is_file,
        cfg.stacks,
        cfg.instances,
    )


def is_one_file(output: Path) -> bool:
    """Return whether `output=` names the file of one mask, and not a folder.

    Raises:
        UserError: If it ends as a picture that masks are not written as.
    """
    from unetkit.data.files import SEGY_SUFFIXES, SUFFIXES, FileRef
    from unetkit.prediction.options import MASK_FORMATS, VOLUME_FORMATS

    suffix = FileRef(output).suffix
    if output.is_dir() or suffix not in SUFFIXES + SEGY_SUFFIXES:
        return False
    endings = list(dict.fromkeys([*MASK_FORMATS.values(), *VOLUME_FORMATS]))
    check("output", output, suffix in endings, f"a folder, or one file that ends in {' or '.join(endings)}")
    return True


def format_of(output: Path, mask_format: str) -> str:
    """Return the format of one file: the one that was typed if its files end so, or else the one that the name says."""
    from unetkit.data.files import FileRef
    from unetkit.prediction.options import MASK_FORMATS

    suffix = FileRef(output).suffix
    return mask_format if MASK_FORMATS.get(mask_format) == suffix else suffix[1:]


def read_kinds(write: Any, submission: object) -> list[str]:
    """Return the kinds of files to write, such as `masks`; there may be none if there is a submission."""
    from unetkit.prediction.options import KINDS

    kinds = [write] if isinstance(write, str) else list(write or [])
    if not set(kinds) <= set(KINDS) or not (kinds or submission):
        raise UserError(f"write={write}", f"must be a list of {', '.join(KINDS)}, as in write=[masks,overlays]")
    return kinds


def read_submission(given: object) -> Path | None:
    """Return the CSV file for Kaggle, or None."""
    if not given:
        return None
    path = path_of("submission", given)
    if path.is_dir():
        raise UserError(f"submission={given}", "is a folder", f"give a file, as {given}/submission.csv")
    if path.suffix.lower() != ".csv":
        raise UserError(f"submission={given}", "must end in .csv, as Kaggle takes it")
    return path


def read_segy_bytes(given: object) -> tuple[int, int]:
    """Return where in a trace's header the inline and crossline numbers begin."""
    places = [given.get(key) if isinstance(given, DictConfig) else given for key in ("inline", "crossline")]
    if not all(isinstance(place, int) for place in places):
        wanted = "must be two numbers, as in segy_bytes.inline=189 segy_bytes.crossline=193"
        raise UserError(f"segy_bytes={given}", wanted)
    return places[0], places[1]  # type: ignore[return-value]


def read_value_range(given: Any) -> str | tuple[float, float] | None:
    """Return None, `auto` or two numbers."""
    if given is None or given == "auto":
        return given  # type: ignore[no-any-return]
    return rising("value_range", given, "auto, or two rising numbers, as in value_range=[-3000,3000]")


def run() -> None:
    """Run the command on what was typed."""
    failures.clear()
    start(main, __doc__, "predict", lists=("checkpoint", "input"), bare="input")
    sys.exit(1 if failures else 0)
