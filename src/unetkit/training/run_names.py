"""How a run is called in W&B and MLflow: by what distinguishes it from others, in a group of those it belongs to."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from unetkit.errors import UserError
from unetkit.run_files import read_yaml
from unetkit.training.recipes import PLACES
from unetkit.training.run_kind import is_in_sweep

LONGEST = 128  # characters that W&B takes


def label(cfg: DictConfig, name: str, group: str | None = None, job_type: str | None = None) -> None:
    """Set name and group of a run in the configuration of each logger, unless they are set, and its kind.

    Args:
        cfg: The configuration, changed in place.
        name: What distinguishes the run from others.
        group: The sweep, search or cross-validation that it belongs to.
        job_type: Kind of the run, such as `fold`; None leaves it as it is.
    """
    for member in (cfg.get("logger") or {}).values():
        for key, value in {"name": name, "group": group}.items():
            if isinstance(member, DictConfig) and key in member and member[key] is None and value:
                member[key] = value[:LONGEST]
        if job_type is not None and isinstance(member, DictConfig) and "job_type" in member:
            member["job_type"] = job_type


def label_as_typed(cfg: DictConfig) -> None:
    """Name a run of a command by what was typed; in a sweep, by what is swept, in a group of that sweep."""
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    typed = [text for text in hydra.overrides.task if not PLACES.fullmatch(key_of(text))]
    group = None
    if is_in_sweep():
        folder = Path(hydra.sweep.dir)
        group = str(Path(folder.absolute().parent.name) / folder.name)
        file = folder / "multirun.yaml"
        swept = swept_keys(typed_for(file)) if file.exists() else set()
        typed = [text for text in typed if key_of(text) in swept] or typed
    label(cfg, " ".join(typed) or Path(cfg.run_dir).name, group)


def typed_for(file: Path) -> list[str]:
    """Return what was typed for a sweep, from its `multirun.yaml`.

    Raises:
        UserError: If that can't be read.
    """
    content = read_yaml(file)
    try:
        return list(content["hydra"]["overrides"]["task"])
    except (KeyError, TypeError) as error:
        raise UserError(str(file), "is not as Hydra writes it") from error


def swept_keys(typed: Sequence[str]) -> set[str]:
    """Return the keys that were typed with several values."""
    parsed = OverridesParser.create().parse_overrides(list(typed))
    return {override.key_or_group for override in parsed if override.is_sweep_override()}


def chosen_files(typed: Sequence[str] | None) -> dict[str, str]:
    """Return the file that was chosen of each group, such as `model: unet_small`.

    Args:
        typed: The overrides that the run was composed with; None if Hydra composed it.
    """
    if typed is not None:
        from unetkit.training.api import compose_training  # here, as that module imports the one that asks

        choices = compose_training(typed, with_hydra=True).hydra.runtime.choices
    else:
        choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return {str(group): str(name) for group, name in choices.items() if not str(group).startswith("hydra/")}


def key_of(text: str) -> str:
    """Return the key of an override."""
    return text.partition("=")[0].lstrip("+~")
