"""Score trained networks, with figures and a report: `unetkit evaluate checkpoint=runs/.../last.ckpt`, or `=[A,B]`."""

import sys
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from unetkit.cli.start import start
from unetkit.errors import UserError, enough_memory, mistakes_in_one_line
from unetkit.paths import config_dir, path_of

if TYPE_CHECKING:
    from unetkit.evaluation import LabelledImages, Model, Summary


@hydra.main(config_path=str(config_dir()), config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write `scores.csv`, `summary.json`, `report.html` and `figures/`, and print the main scores."""
    less = "use device=cpu, tta=none, or smaller images"
    with mistakes_in_one_line(), enough_memory("the evaluation", less):
        summary = evaluate(cfg)
    for line in described(summary):
        print(line)
    print(f"{summary['images']} images; wrote report.html, scores.csv, summary.json and figures/ to {cfg.output}")


def evaluate(cfg: DictConfig) -> "Summary":
    """Score all models on the same images."""
    if cfg.checkpoint is None:
        raise UserError("checkpoint=", "is missing", "give checkpoint=FILE.ckpt, or several as checkpoint=[A,B]")

    from unetkit.evaluation import check_resampling, open_models
    from unetkit.evaluation.primary import read_extra, read_primary
    from unetkit.report import evaluate_models

    check_resampling(cfg.bootstrap, cfg.seed)
    output = path_of("output", cfg.output)
    models = open_models(cfg.checkpoint, cfg.names, cfg.device, cfg.tta)
    primary = None if cfg.metrics.primary is None else read_primary(cfg.metrics.primary)
    extra = None if cfg.metrics.extra is None else read_extra(cfg.metrics.extra)
    return evaluate_models(models, chosen_images(models[0], cfg), output, cfg.bootstrap, cfg.seed, primary, extra)


def chosen_images(first: "Model", cfg: DictConfig) -> "LabelledImages":
    """Open the images of `input=` or `data=`, or those that the run of the first model kept for validation.

    Raises:
        UserError: If both are given, or neither and the model lies in no run directory, or the data holds a mistake.
    """
    from unetkit.evaluation import LabelledImages, images_of_folder
    from unetkit.training.run_data import data_of_run

    folder = None if cfg.input is None else path_of("input", cfg.input)
    if folder is not None and cfg.data is not None:
        if cfg.data.get("root", folder) is not None:
            raise UserError(f"input={folder} and data={cfg.data.name}", "both say which images to score", "give one")
        cfg.data.root = str(folder)
    if cfg.data is not None:
        return images_of_data(first, cfg.data, cfg.part or "all")
    if folder is not None:
        return images_of_folder(folder, cfg.cache_dir, first, cfg.part or "all")
    if first.run is None:
        raise UserError(
            f"checkpoint={first.path}",
            "lies in no run directory (config.yaml, split.csv), so it is not known which images it was not trained on",
            "give input=FOLDER of images/ and masks/, or data= and data.root=",
        )
    return LabelledImages(data_of_run(first.run, cfg.cache_dir), cfg.part or "val")


def images_of_data(first: "Model", data: DictConfig, part: str) -> "LabelledImages":
    """Open the images of `data=`; masks of one's own are encoded as in the run, unless it is typed how.

    Raises:
        UserError: If the data hold a mistake.
    """
    from unetkit.evaluation import LabelledImages, first_readable
    from unetkit.training.run_data import data_of_config

    if first.predictor.is_multilabel and "labels" in data:
        data.labels, data.class_names = "multilabel", data.class_names or first.class_names
        return LabelledImages(data_of_config(data), part)
    values = data.get("mask_values") or data.get("mask_colours")
    if data.get("num_classes") == "auto" and data.class_names is None and len(values or ()) in (0, first.classes):
        data.class_names = first.class_names
    if data.get("num_classes") != "auto" or values:
        return LabelledImages(data_of_config(data), part)
    typed = {} if data.ignore_index is None else {"ignore_index": data.ignore_index}
    ways = [keys | typed for keys in first.encodings()]
    own: Any = OmegaConf.to_container(data, resolve=True)
    return first_readable(lambda keys: data_of_config(OmegaConf.create(own | keys)), ways, part)


def with_data_choice(arguments: list[str]) -> list[str]:
    """Add `data=folder` to what was typed if keys of `data` were typed without it, as beside `input=`."""
    has_keys = any(argument.startswith("data.") for argument in arguments)
    has_choice = any(argument.startswith("data=") for argument in arguments)
    return [*arguments, "data=folder"] if has_keys and not has_choice else arguments


def described(summary: "Summary") -> list[str]:
    """Return lines that give each model's main scores, and how others differ from the first."""
    from unetkit.evaluation.primary import read_primary, shown_first

    primary = read_primary(summary["primary"])
    lines = []
    for name, model in summary["models"].items():
        lines.append(name)
        rows = [(key, found) for key, _, found in shown_first(model, primary)]
        rows += [(f"objects/{key}", found) for key, found in model.get("objects", {}).items()]
        width = max(len(key) for key, _ in rows) + 2
        for key, found in rows:
            lines.append("  {:<{}}{:.4f}  95 % interval {:.4f} to {:.4f}".format(key, width, *found.values()))
    first = next(iter(summary["models"]))
    for name, scores in summary["differences"].items():
        score = primary.full_key
        value, low, high = (scores[score][key] for key in ("value", "low", "high"))
        line = f"{name} minus {first}, {score}: {value:+.4f} ({low:+.4f} to {high:+.4f})"
        counts = ", better on {better} images, worse on {worse}"
        lines.append(line + (counts.format(**scores[score]) if "better" in scores[score] else ""))
    return lines


def run() -> None:
    """Run the command on what was typed."""
    sys.argv = with_data_choice(sys.argv)
    start(main, __doc__, "evaluate", lists=("checkpoint",))
