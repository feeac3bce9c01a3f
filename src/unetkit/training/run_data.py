"""Build the data module that a configuration describes: one from the command line, or that of an earlier run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from unetkit import data as sources
from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError
from unetkit.training.renamed import with_new_names

OTHER_DATA = "give data= and data.root="  # what to do about a run whose data can't be used


def data_of_run(run: Path) -> SegmentationDataModule:
    """Build the data of a run directory, split into the same parts as in that run.

    Raises:
        UserError: If its `config.yaml` names anything but unetkit's own data, so that it can't run a stranger's code.
    """
    file = run / "config.yaml"
    cfg = _read_config(file).get("data")
    allowed = {f"{sources.__name__}.{name}" for name in sources.__all__}
    for target in _targets(cfg):
        if target not in allowed:
            raise UserError(str(file), f"asks for {target}", f"if you trust it, {OTHER_DATA}")
    if "${" in str(cfg):  # it was escaped; if it were resolved again, it could name any target
        raise UserError(str(file), "holds '${', which train.py never writes", OTHER_DATA)
    if not isinstance(cfg, dict) or cfg.get("_target_") != f"{sources.__name__}.{SegmentationDataModule.__name__}":
        raise UserError(str(file), "does not say which data it was trained on", OTHER_DATA)
    return data_of_config(OmegaConf.create(cfg | {"split": str(run / "split.csv")}))


def data_of_config(cfg: DictConfig) -> SegmentationDataModule:
    """Build the data that a `data=` on the command line describes, without augmentation.

    Raises:
        UserError: If a value is wrong.
    """
    try:
        data: SegmentationDataModule = instantiate(cfg, augmentation=None, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    return data


def _read_config(file: Path) -> dict[str, Any]:
    """Read a run's configuration, earlier names replaced and all references resolved: what is checked is what is used.

    Raises:
        UserError: If it is not as train.py writes it.
    """
    try:
        cfg = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except Exception as error:  # OmegaConf raises many kinds for a file that is not YAML, or for a broken reference
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(str(file), f"can't be read ({reason})", OTHER_DATA) from error
    if not isinstance(cfg, dict):
        raise UserError(str(file), "is no configuration of train.py", OTHER_DATA)
    renamed: dict[str, Any] = with_new_names({str(key): value for key, value in cfg.items()})
    return renamed


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in nested containers."""
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _targets(value)
