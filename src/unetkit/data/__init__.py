from unetkit.data.augment import Augmentation, GridElastic
from unetkit.data.datamodule import SegmentationDataModule
from unetkit.data.dataset import VOID, Batch
from unetkit.data.preprocessing import Preprocessing
from unetkit.data.sources import folder_pairs, synthetic_multiclass_pairs, synthetic_pairs, tgs_salt_pairs

__all__ = [
    "VOID",
    "Augmentation",
    "Batch",
    "GridElastic",
    "Preprocessing",
    "SegmentationDataModule",
    "folder_pairs",
    "synthetic_multiclass_pairs",
    "synthetic_pairs",
    "tgs_salt_pairs",
]
