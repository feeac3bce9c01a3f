"""A network for other programs, or a slim checkpoint: `python scripts/export.py checkpoint=RUN output=model.onnx`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, check, mistakes_in_one_line, writable
from unetkit.paths import path_of

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "checkpoint": ".ckpt"}
USE = {
    "onnx": "python examples/onnx_python.py {file} IMAGE.png MASK.png",
    "torch": 'torch.export.load("{file}").module()(images)',
}


@hydra.main(config_path="../conf", config_name="export", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the file, compared with the checkpoint before it is kept."""
    with mistakes_in_one_line():
        if cfg.checkpoint is None:
            raise UserError("checkpoint= is missing; give checkpoint=FILE.ckpt and output=FILE.onnx")
        if cfg.format not in SUFFIXES:
            raise UserError(f"format={cfg.format} must be one of {', '.join(SUFFIXES)}")
        suffix = SUFFIXES[cfg.format]
        file = Path(f"model{suffix}") if cfg.output is None else path_of("output", cfg.output)
        if file.suffix != suffix:
            raise UserError(f"output={file} must end in {suffix} for format={cfg.format}")
        check("half", cfg.half, isinstance(cfg.half, bool), "true or false")
        if cfg.format == "checkpoint":
            write_checkpoint(cfg, file)
        elif cfg.half or cfg.card is not None or cfg.scores is not None:
            raise UserError(f"half=, card= and scores= are for format=checkpoint, not for format={cfg.format}")
        else:
            write_program(cfg, file)


def write_program(cfg: DictConfig, file: Path) -> None:
    """Write the network with normalisation, padding and sigmoid inside, and say how it compares with PyTorch."""
    from unetkit.checkpoints.checkpoint import Checkpoint
    from unetkit.checkpoints.export import SIZES, export

    checkpoint = Checkpoint.read(cfg.checkpoint)
    facts = {"classes": checkpoint.metadata.classes, "class_names": checkpoint.metadata.class_names}
    difference = export(checkpoint.predictor(), file, cfg.format, **facts)
    sizes = ", ".join("x".join(map(str, size)) for size in SIZES)
    print(f"compared with PyTorch at {sizes}")
    print(
        f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB), largest difference {difference:.1e}; "
        f"run it: {USE[cfg.format].format(file=file)}"
    )


def write_checkpoint(cfg: DictConfig, file: Path) -> None:
    """Write a copy without the state of training, and its model card."""
    from unetkit.checkpoints.strip import write_stripped

    if cfg.scores is not None and cfg.card is None:
        raise UserError(f"scores={cfg.scores} is for a model card; give card=FILE.md")
    if cfg.card is not None and Path(str(cfg.card)).suffix.lower() != ".md":
        raise UserError(f"card={cfg.card} must end in .md: the card is Markdown")
    difference = write_stripped(cfg.checkpoint, file, half=cfg.half)
    written = f"{file} ({file.stat().st_size / 1e6:.2f} MB)"
    if cfg.card is not None:
        from unetkit.paths import whole_file
        from unetkit.report import model_card

        card = path_of("card", cfg.card)
        scores = None if cfg.scores is None else path_of("scores", cfg.scores)
        text = model_card(file, scores)
        with writable("card", card), whole_file(card) as part:
            part.write_text(text, encoding="utf-8")
        written += f" and {card}"
    print(f"wrote {written}, largest difference {difference:.1e} of probabilities")
    print(f"next: python scripts/predict.py checkpoint={file} input=FILE_OR_FOLDER")


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "export.yaml")
