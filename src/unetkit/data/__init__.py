from importlib import import_module
from typing import TYPE_CHECKING, Any

from unetkit.data.device_augment import DeviceAugmentation
from unetkit.data.preprocessing import Preprocessing
from unetkit.data.sources import folder_pairs, synthetic_multiclass_pairs, synthetic_pairs, tgs_salt_pairs, volume_pairs
from unetkit.data.types import VOID, Batch

if TYPE_CHECKING:
    from unetkit.data.augment import Augmentation, GridElastic
    from unetkit.data.datamodule import SegmentationDataModule

__all__ = [
    "VOID",
    "Augmentation",
    "Batch",
    "DeviceAugmentation",
    "GridElastic",
    "Preprocessing",
    "SegmentationDataModule",
    "folder_pairs",
    "synthetic_multiclass_pairs",
    "synthetic_pairs",
    "tgs_salt_pairs",
    "volume_pairs",
]

# Imported on first use: albumentations and Lightning take seconds, and prediction works without them.
_ON_DEMAND = {"Augmentation": "augment", "GridElastic": "augment", "SegmentationDataModule": "datamodule"}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f"unetkit.data.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module 'unetkit.data' has no attribute {name!r}")
