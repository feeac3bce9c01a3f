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
from unetkit.run_files import read_config
from unetkit.training.renamed import with_new_names

OTHER_DATA = "give data= and data.root="  # what to do about a run whose data can't be used


def data_of_run(run: Path, cache_dir: str | Path) -> SegmentationDataModule:
    """Build the data of a run directory, split into the same parts as in that run.

    Args:
        run: The directory.
        cache_dir: Folder for decoded files; that of the run may be anywhere.

    Raises:
        UserError: If its `config.yaml` names anything but unetkit's own data, so that it can't run a stranger's code.
    """
    file = run / "config.yaml"
    cfg = with_new_names(read_config(file, OTHER_DATA)).get("data")
    allowed = {f"{sources.__name__}.{name}" for name in sources.__all__}
    for target in _targets(cfg):
        if target not in allowed:
            raise UserError(str(file), f"asks for {target}", f"if you trust it, {OTHER_DATA}")
    if not isinstance(cfg, dict) or cfg.get("_target_") != f"{sources.__name__}.{SegmentationDataModule.__name__}":
        raise UserError(str(file), "does not say which data it was trained on", OTHER_DATA)
    return data_of_config(OmegaConf.create(_with_own_places(cfg, str(cache_dir)) | {"split": str(run / "split.csv")}))


def _with_own_places(cfg: dict[str, Any], cache_dir: str) -> dict[str, Any]:
    """Return the configuration of data whose files are written to `cache_dir`, wherever the run wrote them."""
    pairs = cfg.get("pairs")
    if isinstance(pairs, dict) and "synthetic" in str(pairs.get("_target_")):  # makes its images in `root`
        cfg = cfg | {"pairs": pairs | {"root": cache_dir}}
    if isinstance(pairs, dict) and "spacing" in pairs:  # scores are those at the spacing of the files
        cfg = cfg | {"pairs": pairs | {"spacing": None}}
    return cfg | {"cache_dir": cache_dir}


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


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in nested containers."""
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _targets(value)
