"""Write a model card in Markdown: what a checkpoint is, what it was trained on, its scores, and how to use it.

After Mitchell et al., *Model Cards for Model Reporting*, 2019.
"""

import re
from pathlib import Path
from typing import Any

import jinja2

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.errors import UserError
from unetkit.evaluation.primary import read_primary, shown_first
from unetkit.report.comparison import one_cell
from unetkit.run_files import read_json, read_yaml

FOLD = re.compile(r"fold-\d+")  # folders of a cross-validation
# Keys of a command line that say where it ran and not what was trained; the card leaves them out.
PLACES = ("hydra.", "run_dir=", "data.cache_dir=", "trainer.enable_progress_bar=", "cross_validation.folds=", "logger")
NETWORK = ("experiment=", "model=", "model.")  # keys that say which network it is


def model_card(
    file: Path, cross_validation: Path | None, *, name: str | None = None, address: str | None = None
) -> str:
    """Return the card of a checkpoint.

    Args:
        file: The checkpoint.
        cross_validation: The directory of the cross-validation whose fold it is, to show its scores, or None.
        name: Heading of the card; None for the name of the file.
        address: Address that others load the checkpoint from; None for the file itself.

    Raises:
        UserError: If either can't be read.
    """
    checkpoint, shown = Checkpoint.read(file), address or file
    network, weights = checkpoint.build_network(), checkpoint.state_dict.values()
    try:
        return (
            _environment()
            .get_template("model_card.md.jinja")
            .render(
                name=name or file.stem,
                file=shown,
                megabytes=file.stat().st_size / 1e6,
                metadata=checkpoint.metadata,
                epochs=None if checkpoint.epoch is None else checkpoint.epoch + 1,
                parameters=sum(p.numel() for p in network.parameters()),
                precision=sorted({str(x.dtype).removeprefix("torch.") for x in weights if x.is_floating_point()}),
                validation=None if cross_validation is None else read_validation(cross_validation),
            )
        )
    except UserError:
        raise
    except (jinja2.UndefinedError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        subject = f"checkpoint={shown}" if cross_validation is None else f"scores={cross_validation}"
        raise UserError(subject, f"lacks what a card needs, or has it of another kind ({error})") from error


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("unetkit.report", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: one_cell(str(value)),  # no autoescape, as the card is Markdown and not HTML
    )


def read_validation(folder: Path) -> dict[str, Any]:
    """Read the records of a cross-validation for a card.

    Returns:
        Its `summary`; the `primary` score, and the scores `shown`; the summaries of its `folds`; the `command` that ran
        it, or None if that is not known; the keys of the command that choose the `network`, as text.

    Raises:
        UserError: If there is no summary of a cross-validation.
    """
    fix = "give one that `unetkit cross-validate` made"
    summary = read_json(folder / "summary.json", fix)
    names = summary.get("folds")
    if not isinstance(names, dict) or not names or not all(map(FOLD.fullmatch, names)):
        raise UserError(f"scores={folder}", "is no directory of a finished cross-validation", fix)
    folds = [read_json(folder / name / "summary.json", fix) for name in names]
    primary = read_primary(summary.get("primary", "kaggle"))  # which led before it was written down
    typed = folder / ".hydra" / "overrides.yaml"
    overrides = [str(item) for item in read_yaml(typed)] if typed.is_file() else None
    return {
        "summary": summary,
        "primary": primary,
        "shown": shown_first(summary["models"]["out of fold"], primary),
        "folds": folds,
        "command": None if overrides is None else _command(overrides, [fold["data"] for fold in folds]),
        "network": " ".join(key for key in overrides or () if key.startswith(NETWORK)),
    }


def _command(overrides: list[str], folds: list[dict[str, Any]]) -> str:
    """Return the command of a cross-validation without what belongs to the machine it ran on."""
    kept = [key for key in overrides if not key.startswith(PLACES)]
    shown = ["data.root=DIR" if key.startswith("data.root=") else key for key in kept]
    if len(folds) < folds[0]["folds"]:
        shown.append(f"cross_validation.folds=[{','.join(str(fold['fold']) for fold in folds)}]")
    return " ".join(["unetkit cross-validate", *shown])
