from importlib import import_module
from typing import TYPE_CHECKING, Any

from unetkit.data.preprocessing import Preprocessing
from unetkit.data.sources import folder_pairs, synthetic_multiclass_pairs, synthetic_pairs, tgs_salt_pairs

if TYPE_CHECKING:
    from unetkit.data.augment import Augmentation, GridElastic
    from unetkit.data.datamodule import SegmentationDataModule
    from unetkit.data.device_augment import DeviceAugmentation
    from unetkit.data.types import VOID, Batch

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
]

# Imported on demand: Lightning and albumentations take seconds, which predicting should not.
_ON_DEMAND = {
    "VOID": "dataset",
    "Augmentation": "augment",
    "Batch": "dataset",
    "DeviceAugmentation": "device_augment",
    "GridElastic": "augment",
    "SegmentationDataModule": "datamodule",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f"unetkit.data.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module 'unetkit.data' has no attribute {name!r}")
