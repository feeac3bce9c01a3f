"""Public data sets that are recognised by their masks, with what class 0 is and which pixels are void."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from unetkit.data.files import FileRef
from unetkit.data.layout.described import DescribedClasses

CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian"),
    "Bicyclist",
)
CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
CITYSCAPES_IDS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
    *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
    *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
    *("bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
LOVEDA = ("background", "building", "road", "water", "barren", "forest", "agriculture")
MOST_OF_CAMVID = 8  # classes from which on masks without the unlabelled value are taken for CamVid's, too


@dataclass(frozen=True)
class PublicDataSet:
    """A data set whose masks are recognised.

    Attributes:
        path: What the paths of all its masks hold.
        classes: Returns what the values found in the masks mean; None if they are not those of this data set.
    """

    path: re.Pattern[str]
    classes: Callable[[set[int]], DescribedClasses | None]


def known_classes(masks: Iterable[FileRef], found: Collection[int]) -> DescribedClasses | None:
    """Return the classes of a public data set that is recognised by its masks; None for other masks.

    Args:
        masks: The mask files.
        found: The values in them, at least two.
    """
    paths = ["/" + mask.name.as_posix() for mask in masks]
    for data_set in PUBLIC:
        if len(found) > 1 and paths and all(data_set.path.search(path) for path in paths):
            return data_set.classes(set(found))
    return None


def _camvid(found: set[int]) -> DescribedClasses | None:
    """Describe CamVid as SegNet's authors prepared it: 11 classes, and unlabelled pixels."""
    unlabelled = len(CAMVID)
    fits = found <= {*range(unlabelled + 1), 255} and (unlabelled in found or len(found) >= MOST_OF_CAMVID)
    void = 255 if 255 in found and unlabelled not in found else unlabelled
    return DescribedClasses(CAMVID, void, background=None, source="CamVid") if fits and len(found) > 2 else None


def _cityscapes(found: set[int]) -> DescribedClasses | None:
    fits = found <= {*range(len(CITYSCAPES)), 255}
    return DescribedClasses(CITYSCAPES, 255, background=None, source="Cityscapes") if fits else None


def _cityscapes_ids(found: set[int]) -> DescribedClasses | None:
    """Describe the 34 labels, of which those that are in the masks become classes."""
    values = tuple(sorted(found - {0}))
    if len(values) < 2 or values[-1] >= len(CITYSCAPES_IDS):
        return None
    names = tuple(CITYSCAPES_IDS[value] for value in values)
    advice = "labelTrainIds are the 19 classes of papers: csCreateTrainIdLabelImgs (pip install cityscapesscripts)"
    return DescribedClasses(names, 0, values, None, "Cityscapes", advice)


def _ade20k(found: set[int]) -> DescribedClasses | None:
    """Describe the 150 classes of scene parsing, numbered from 1; 0 is all else."""
    names = tuple(f"class {value}" for value in range(1, 151))
    return DescribedClasses(names, 0, tuple(range(1, 151)), None, "ADE20K") if max(found) <= 150 else None


def _loveda(found: set[int]) -> DescribedClasses | None:
    values = tuple(range(1, len(LOVEDA) + 1))
    return DescribedClasses(LOVEDA, 0, values, None, "LoveDA") if found <= {0, *values} else None


def _pets(found: set[int]) -> DescribedClasses | None:
    """Describe trimaps: 1 is the animal, 2 the background, 3 the border between them."""
    fits = found <= {1, 2, 3} and len(found) > 1
    return DescribedClasses(("background", "pet"), 3, (2, 1), 0, "Oxford-IIIT Pet") if fits else None


PUBLIC = (
    PublicDataSet(re.compile(r"/(train|val|test)annot/[^/]+$"), _camvid),
    PublicDataSet(re.compile(r"_gt(Fine|Coarse)_labelTrainIds\.\w+$"), _cityscapes),
    PublicDataSet(re.compile(r"_gt(Fine|Coarse)_labelIds\.\w+$"), _cityscapes_ids),
    PublicDataSet(re.compile(r"/annotations/.*ADE_(train|val)_\w+\.png$"), _ade20k),
    PublicDataSet(re.compile(r"/(Rural|Urban)/masks_png/[^/]+$"), _loveda),
    PublicDataSet(re.compile(r"/trimaps/[^/]+$"), _pets),
)
