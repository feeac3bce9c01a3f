"""The U-Net research kit; `unetkit.load(path)` gives the predictor of a checkpoint."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetkit.checkpoint import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Imported on demand: torch takes seconds, which `train.py --help` should not.
    if name == "load":
        from unetkit.checkpoint import load

        return load
    raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
