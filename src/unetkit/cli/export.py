"""Export a network, or a checkpoint without training state: `unetkit export checkpoint=RUN output=model.onnx`."""

import shlex
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, check, mistakes_in_one_line, writable
from unetkit.paths import command_line, config_dir, path_of, short_path, whole_file

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "checkpoint": ".ckpt"}


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
    check("half", cfg.half, isinstance(cfg.half, bool), "true or false")
    if cfg.format != "checkpoint" and (cfg.half or cfg.card is not None or cfg.scores is not None):
        raise UserError("half=, card= and scores=", f"are for format=checkpoint, not for format={cfg.format}")
    if cfg.scores is not None and cfg.card is None:
        raise UserError(f"scores={cfg.scores}", "is for a model card", "give card=FILE.md")
    if cfg.card is not None and Path(str(cfg.card)).suffix.lower() != ".md":
        raise UserError(f"card={cfg.card}", "must end in .md", "the card is Markdown")
    return file


def write_program(cfg: DictConfig, file: Path) -> None:
    """Write the network with normalisation, padding and sigmoid inside, and print how it differs from PyTorch.

    Several networks, as those of a cross-validation, become one file that averages their probabilities.
    """
    from unetkit.checkpoints.checkpoint import Checkpoint
    from unetkit.checkpoints.export import compared_sizes, export
    from unetkit.checkpoints.files import find_checkpoints
    from unetkit.checkpoints.loading import load_ensemble

    paths = find_checkpoints(cfg.checkpoint)
    ensemble = load_ensemble(paths)
    facts = {"classes": ensemble.classes, "class_names": Checkpoint.read(paths[0]).metadata.class_names}
    difference = export(ensemble, file, cfg.format, **facts)
    if len(paths) > 1:
        print(f"the mean of {len(paths)} networks: {', '.join(map(str, paths))}")
    sizes = ", ".join("x".join(map(str, size)) for size in compared_sizes(ensemble))
    print(f"compared with PyTorch at {sizes}")
    if (resize := ensemble.members[0].preprocessing.resize) is not None:
        size = f"scale {resize}" if isinstance(resize, float) else f"{resize[0]} x {resize[1]} pixels"
        print(f"resizing is not part of the file: give it images resized to {size}, and resize what it returns")
    if (spacing := ensemble.members[0].preprocessing.spacing) is not None:
        print(f"resampling is not part of the file: give it volumes of {list(spacing)} mm along z, y, x")
    print(
        f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB), largest difference {difference:.1e}; "
        f"run it: {how_to_run(file, has_volumes=ensemble.has_volumes)}"
    )


def how_to_run(file: Path, *, has_volumes: bool = False) -> str:
    """Return how an exported network is run: the clone's example where there is one, or else a line of Python."""
    example = config_dir().with_name("examples") / "onnx_python.py"
    if file.suffix == SUFFIXES["torch"]:
        return f'torch.export.load("{file}").module()(images)'
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
