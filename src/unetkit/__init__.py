"""The U-Net research kit; `unetkit.load(path)` gives the predictor of a checkpoint."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetkit.checkpoints.loading import load, load_ensemble

__all__ = ["load", "load_ensemble"]


def __getattr__(name: str) -> Any:
    # Imported on demand: torch takes seconds, which `train.py --help` should not.
    if name in __all__:
        from unetkit.checkpoints import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
