"""Networks and configurations of conf/."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"


def every_network() -> list[str]:
    """Return the names of conf/model without `unet`, which is the base of others."""
    return sorted(file.stem for file in (CONF / "model").glob("*.yaml") if file.stem != "unet")


def composed(name: str, *overrides: str) -> DictConfig:
    """Compose the configuration of a run."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"model={name}", "run_dir=unused", *overrides])
