"""The U-Net research kit; `unetkit.train` trains a network, `unetkit.load` loads one to predict with."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetkit.checkpoints.loading import load, load_ensemble
    from unetkit.report.publish import push_to_hub
    from unetkit.training.api import train

__all__ = ["load", "load_ensemble", "push_to_hub", "train"]


def __getattr__(name: str) -> Any:
    # Imported on demand: torch takes seconds, and predicting needs neither Lightning nor Hydra.
    if name in ("load", "load_ensemble"):
        from unetkit.checkpoints import loading

        return getattr(loading, name)
    if name == "push_to_hub":
        from unetkit.report.publish import push_to_hub

        return push_to_hub
    if name == "train":
        from unetkit.training.api import train

        return train
    raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
