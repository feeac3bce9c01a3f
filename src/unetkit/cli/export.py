"""Export a network, or a checkpoint without training state: `unetkit export checkpoint=RUN output=model.onnx`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, check, mistakes_in_one_line, writable
from unetkit.paths import command_line, config_dir, path_of, short_path, whole_file

if TYPE_CHECKING:
    from unetkit.prediction.ensemble import Ensemble

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml", "checkpoint": ".ckpt"}
PRECISIONS = ("fp32", "fp16", "int8")


@hydra.main(config_path=str(config_dir()), config_name="export", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the file, compared with the checkpoint before it is kept."""
    with mistakes_in_one_line():
        file = checked_output(cfg)
        if cfg.format == "checkpoint":
            write_checkpoint(cfg, file)
        else:
            write_program(cfg, file)


def checked_output(cfg: DictConfig) -> Path:
    """Return the file to write.

    Raises:
        UserError: If a key is missing or out of range, or is not for this format.
    """
    if cfg.checkpoint is None:
        raise UserError("checkpoint=", "is missing", "give checkpoint=FILE.ckpt and output=FILE.onnx")
    check("format", cfg.format, cfg.format in SUFFIXES, f"one of {', '.join(SUFFIXES)}")
    suffix = SUFFIXES[cfg.format]
    file = Path(f"model{suffix}") if cfg.output is None else path_of("output", cfg.output)
    if file.suffix != suffix:
        raise UserError(f"output={file}", f"must end in {suffix} for format={cfg.format}")
    check_precision(cfg)
    check("half", cfg.half, isinstance(cfg.half, bool), "true or false")
    if cfg.format != "checkpoint" and (cfg.half or cfg.card is not None or cfg.scores is not None):
        raise UserError("half=, card= and scores=", f"are for format=checkpoint, not for format={cfg.format}")
    if cfg.scores is not None and cfg.card is None:
        raise UserError(f"scores={cfg.scores}", "is for a model card", "give card=FILE.md")
    if cfg.card is not None and Path(str(cfg.card)).suffix.lower() != ".md":
        raise UserError(f"card={cfg.card}", "must end in .md", "the card is Markdown")
    return file


def is_reduced(cfg: DictConfig) -> bool:
    """Return whether the file may differ from the checkpoint, and is compared by its masks."""
    return bool(cfg.precision != "fp32" or cfg.format == "openvino")


def check_precision(cfg: DictConfig) -> None:
    """Check the keys of the precision.

    Raises:
        UserError: If one is missing or out of range, or is not for this format.
    """
    check("precision", cfg.precision, cfg.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
    if cfg.precision != "fp32" and cfg.format not in ("onnx", "openvino"):
        fix = "use half=true" if cfg.format == "checkpoint" and cfg.precision == "fp16" else "leave it out"
        raise UserError(f"precision={cfg.precision}", "is for format=onnx and format=openvino", fix)
    if is_reduced(cfg) and cfg.images is None:
        what = f"precision={cfg.precision}" if cfg.precision != "fp32" else f"format={cfg.format}"
        raise UserError("images=", f"is missing: {what} is compared with PyTorch on images", "give images=FOLDER")
    if not is_reduced(cfg) and cfg.images is not None:
        raise UserError(f"images={cfg.images}", "is for precision=fp16, precision=int8 and format=openvino")
    is_share = isinstance(cfg.min_iou, int | float) and not isinstance(cfg.min_iou, bool) and 0 <= cfg.min_iou <= 1
    check("min_iou", cfg.min_iou, is_share, "a number from 0 to 1")


def write_program(cfg: DictConfig, file: Path) -> None:
    """Write the network with normalisation, padding and sigmoid inside, and print how it differs from PyTorch.

    Several networks, as those of a cross-validation, become one file that averages their probabilities.
    """
    from unetkit.checkpoints.checkpoint import Checkpoint
    from unetkit.checkpoints.files import find_checkpoints
    from unetkit.checkpoints.loading import load_ensemble

    paths = find_checkpoints(cfg.checkpoint)
    ensemble = load_ensemble(paths)
    facts = {"classes": ensemble.classes, "class_names": Checkpoint.read(paths[0]).metadata.class_names}
    write = write_reduced if is_reduced(cfg) else write_exact
    compared, found = write(cfg, ensemble, file, facts)
    if len(paths) > 1:
        print(f"the mean of {len(paths)} networks: {', '.join(map(str, paths))}")
    print(compared)
    if (resize := ensemble.members[0].preprocessing.resize) is not None:
        size = f"scale {resize}" if isinstance(resize, float) else f"{resize[0]} x {resize[1]} pixels"
        print(f"resizing is not part of the file: give it images resized to {size}, and resize what it returns")
    if (spacing := ensemble.members[0].preprocessing.spacing) is not None:
        print(f"resampling is not part of the file: give it volumes of {list(spacing)} mm along z, y, x")
    print(
        f"wrote {file} ({megabytes(file):.1f} MB), {found}; "
        f"run it: {how_to_run(file, has_volumes=ensemble.has_volumes)}"
    )


def write_exact(cfg: DictConfig, ensemble: "Ensemble", file: Path, facts: dict[str, Any]) -> tuple[str, str]:
    """Write a file of full precision; return on what it was compared, and what was found."""
    from unetkit.checkpoints.compared import compared_sizes
    from unetkit.checkpoints.export import export

    difference = export(ensemble, file, cfg.format, **facts)
    sizes = ", ".join("x".join(map(str, size)) for size in compared_sizes(ensemble))
    return f"compared with PyTorch at {sizes}", f"largest difference {difference:.1e}"


def write_reduced(cfg: DictConfig, ensemble: "Ensemble", file: Path, facts: dict[str, Any]) -> tuple[str, str]:
    """Write a file of lower precision; return on what it was compared, and what was found."""
    from unetkit.checkpoints.export import check_reduced, export_reduced
    from unetkit.checkpoints.samples import read_samples
    from unetkit.data.layout.inputs import find_images

    check_reduced(ensemble, cfg.format, cfg.precision)
    try:
        refs = find_images(path_of("images", cfg.images), ensemble.channel_files)
    except UserError as error:  # which is about the key `input` of predict
        raise error.about(error.subject.replace("input=", "images=", 1)) from error
    images = read_samples(refs, ensemble.members[0].preprocessing)
    found = export_reduced(ensemble, file, cfg.format, cfg.precision, images, cfg.min_iou, **facts)
    compared = f"compared with the masks of PyTorch on {found.images} images of {cfg.images}"
    return compared, f"mask IoU {found.mean:.4f}, at least {found.least:.4f}"


def megabytes(file: Path) -> float:
    """Return the size of a file, with the weights that OpenVINO writes beside it."""
    files = [file, file.with_suffix(".bin")] if file.suffix == SUFFIXES["openvino"] else [file]
    return sum(part.stat().st_size for part in files) / 1e6


def how_to_run(file: Path, *, has_volumes: bool = False) -> str:
    """Return how an exported network is run: the clone's example where there is one, or else a line of Python."""
    example = config_dir().with_name("examples") / "onnx_python.py"
    if file.suffix == SUFFIXES["torch"]:
        return f'torch.export.load("{file}").module()(images)'
    if file.suffix == SUFFIXES["openvino"]:
        return f'openvino.Core().compile_model("{file}")(images)[0]'
    if has_volumes or not example.exists():
        return f'onnxruntime.InferenceSession("{file}").run(None, {{"images": images}})'
    return shlex.join([short_path(sys.executable), short_path(example), str(file), "IMAGE.png", "MASK.png"])


def write_checkpoint(cfg: DictConfig, file: Path) -> None:
    """Write a copy without the state of training, and its model card if it is wanted."""
    from unetkit.checkpoints.strip import write_stripped

    difference = write_stripped(cfg.checkpoint, file, half=cfg.half)
    written = f"{file} ({file.stat().st_size / 1e6:.2f} MB)"
    if cfg.card is not None:
        from unetkit.report import model_card

        card = path_of("card", cfg.card)
        text = model_card(file, None if cfg.scores is None else path_of("scores", cfg.scores))
        with writable("card", card), whole_file(card) as part:
            part.write_text(text, encoding="utf-8")
        written += f" and {card}"
    print(f"wrote {written}, largest difference {difference:.1e} of probabilities")
    print(f"next: {command_line('predict', f'checkpoint={file}', 'input=FILE_OR_FOLDER')}")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "export")
