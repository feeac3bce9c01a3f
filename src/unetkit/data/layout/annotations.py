"""Outlines of objects in annotation files: COCO, labelme and YOLO, as masks to be drawn."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unetkit.data.drawn import Outline, OutlinedMask
from unetkit.data.files import FileRef
from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.item import Item
from unetkit.data.layout.roles import placed
from unetkit.data.layout.tree import Entry
from unetkit.data.types import VOID
from unetkit.errors import UserError

IGNORED_LABELS = ("__ignore__", "ignore", "void")  # of labelme, for pixels that count nowhere
BACKGROUND_LABELS = ("_background_", "__background__", "background")
CIRCLE_POINTS = 64

Found = tuple[str, dict[FileRef, tuple[Item, OutlinedMask]], list[Finding]]


def find_outlines(entries: Sequence[Entry]) -> Found | None:
    """Find annotation files: what kind they are, each image with its mask by the image's file, and findings.

    Raises:
        UserError: If one of them can't be read.
    """
    for find in (_find_in_json, _find_yolo):
        found = find(entries)
        if found is not None:
            return found
    return None


def _find_in_json(entries: Sequence[Entry]) -> Found | None:
    broken: list[str] = []
    coco: list[tuple[Entry, Mapping[str, Any]]] = []
    labelme: list[tuple[Entry, Mapping[str, Any]]] = []
    for entry in entries:
        if entry.ref.name.suffix.lower() != ".json":
            continue
        try:
            content = json.loads(entry.ref.read())
        except (ValueError, RecursionError, OSError):
            broken.append(entry.path)
            continue
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            coco.append((entry, content))
        elif isinstance(content, dict) and "shapes" in content:
            labelme.append((entry, content))
    found = _read_coco(coco, entries) if coco else _read_labelme(labelme, entries) if labelme else None
    if found:
        fix = "correct or remove it"
        found[2].extend(finding_on(Severity.WARNING, "{n} .json file{s} can't be read", fix, broken))
    return found


def _read_coco(files: Sequence[tuple[Entry, Mapping[str, Any]]], entries: Sequence[Entry]) -> Found | None:
    """Read COCO's files of instances: crowds are void, and small objects are drawn over large ones."""
    if not any(note.get("segmentation") for _, content in files for note in content["annotations"]):
        return None  # captions, boxes or keypoints
    images = _ImageFinder(entries)
    names = {category["id"]: str(category["name"]) for _, content in files for category in content["categories"]}
    index_of = {id: index for index, id in enumerate(sorted(names), 1)}
    class_names = ("background", *(names[id] for id in sorted(names)))
    masks: dict[FileRef, tuple[Item, OutlinedMask]] = {}
    missing: list[str] = []
    boxes: list[str] = []
    for entry, content in files:
        notes: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for note in content["annotations"]:
            notes[note["image_id"]].append(note)
        split = _split_of(entry)
        for image in content["images"]:
            item = images.find(str(image["file_name"]), entry)
            if item is None:
                missing.append(str(image["file_name"]))
                continue
            held = sorted(notes[image["id"]], key=lambda note: (not note.get("iscrowd"), -float(note.get("area") or 0)))
            boxes += [item.shown for note in held if not note.get("segmentation")]
            outlines = tuple(_coco_outline(note, index_of, entry.ref) for note in held if note.get("segmentation"))
            size = (image["height"], image["width"]) if image.get("height") and image.get("width") else None
            mask = OutlinedMask(entry.ref, item.ref.name.name, outlines, class_names, size)
            if item.ref in masks:  # listed in two files, as for stuff and things
                other = masks[item.ref][1]
                mask = replace(mask, outlines=(*other.outlines, *outlines))
            masks[item.ref] = item.in_folder(split=split or item.folder.split), mask
    findings = [
        *finding_on(Severity.WARNING, "{n} annotated image{s} {is} not there", "add them", missing),
        *finding_on(Severity.WARNING, "{n} object{s} {has} a box, but no outline: not drawn", "outline them", boxes),
    ]
    return f"COCO's outlines in {', '.join(entry.path for entry, _ in files)}", masks, findings


def _coco_outline(note: Mapping[str, Any], index_of: Mapping[Any, int], ref: FileRef) -> Outline:
    value = VOID if note.get("iscrowd") else index_of.get(note["category_id"], 0)
    if value == 0:
        raise UserError(str(ref), f"has an object of category {note['category_id']}, which it does not list", "add it")
    shape = note["segmentation"]
    if isinstance(shape, dict):
        return Outline(value, runs=shape)
    return Outline(value, tuple(tuple(map(float, ring)) for ring in shape if len(ring) >= 6))


def _read_labelme(files: Sequence[tuple[Entry, Mapping[str, Any]]], entries: Sequence[Entry]) -> Found:
    """Read labelme's file of each image; the classes are the labels in the order of the alphabet."""
    images = _ImageFinder(entries)
    labels = {str(shape["label"]) for _, content in files for shape in content["shapes"]}
    known = sorted(labels - {*IGNORED_LABELS, *BACKGROUND_LABELS})
    value_of = {label: index for index, label in enumerate(known, 1)}
    value_of |= dict.fromkeys(IGNORED_LABELS, VOID) | dict.fromkeys(BACKGROUND_LABELS, 0)
    masks: dict[FileRef, tuple[Item, OutlinedMask]] = {}
    missing: list[str] = []
    points: list[str] = []
    for entry, content in files:
        item = images.find(str(content.get("imagePath") or entry.ref.stem), entry) or images.find(entry.ref.stem, entry)
        if item is None:
            missing.append(entry.path)
            continue
        rings = [(value_of[str(shape["label"])], _labelme_ring(shape)) for shape in content["shapes"]]
        points += [item.shown for _, ring in rings if not ring]
        outlines = tuple(Outline(value, (ring,)) for value, ring in rings if ring)
        height, width = content.get("imageHeight"), content.get("imageWidth")
        size = (int(height), int(width)) if height and width else None
        masks[item.ref] = item, OutlinedMask(entry.ref, item.ref.name.name, outlines, ("background", *known), size)
    findings = [
        *finding_on(Severity.WARNING, "{n} annotation file{s} {has} no image", "add it, or remove the file", missing),
        *finding_on(
            Severity.WARNING, "{n} object{s} {is} a point, a line or a mask: not drawn", "outline them", points
        ),
    ]
    return "labelme's outlines in .json files", masks, findings


def _labelme_ring(shape: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the polygon of a shape; empty for a kind without area, or one that is not known."""
    points = np.array(shape["points"], float).reshape(-1, 2)
    kind = shape.get("shape_type") or "polygon"
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    elif kind != "polygon" or len(points) < 3:
        return ()
    return tuple(points.ravel().tolist())


def _find_yolo(entries: Sequence[Entry]) -> Found | None:
    """Read YOLO's text file of each image: a line is a class and the corners of an outline, as shares of the size."""
    texts = {_twin(*placed(entry)): entry for entry in entries if entry.ref.name.suffix.lower() == ".txt"}
    pairs: dict[FileRef, tuple[Item, Entry, list[list[float]]]] = {}
    for entry in entries:
        if not entry.is_image:
            continue
        item, role = placed(entry)
        text = texts.get(_twin(item, role))
        lines = None if text is None or role == "mask" else _read_numbers(text.ref)
        if text is not None and lines is not None:
            pairs[entry.ref] = item, text, lines
    if not any(lines for _, _, lines in pairs.values()):
        return None
    boxes = [text.path for _, text, lines in pairs.values() if any(len(line) == 5 for line in lines)]
    if boxes:
        problem = "holds boxes (a class and four numbers in each line), not outlines"
        raise UserError(boxes[0], problem, "a mask needs the outlines of objects: YOLO's format for segmentation")
    class_names = _yolo_names(entries, max(int(line[0]) for _, _, lines in pairs.values() for line in lines))
    masks = {}
    for ref, (item, text, lines) in pairs.items():
        outlines = tuple(Outline(int(line[0]) + 1, (tuple(line[1:]),)) for line in lines)
        masks[ref] = item, OutlinedMask(text.ref, item.ref.name.name, outlines, class_names, are_shares=True)
    return "YOLO's outlines in .txt files", masks, []


def _twin(item: Item, role: str | None) -> tuple[object, ...]:
    return item.folder.split, item.folder.group, item.name


def _read_numbers(ref: FileRef) -> list[list[float]] | None:
    """Return the numbers of each line; None if the file holds something else than classes and coordinates."""
    try:
        lines = [list(map(float, line.split())) for line in ref.read().decode().splitlines() if line.strip()]
    except (ValueError, OSError):
        return None
    are_outlines = all(len(line) == 5 or (len(line) >= 7 and len(line) % 2 == 1) for line in lines)
    return lines if are_outlines and all(line[0] >= 0 and line[0] == int(line[0]) for line in lines) else None


def _yolo_names(entries: Sequence[Entry], last: int) -> tuple[str, ...]:
    """Return the names of classes in the data set's .yaml, or numbers."""
    import yaml

    names: dict[int, str] = {index: f"class {index + 1}" for index in range(last + 1)}
    for entry in entries:
        if entry.ref.name.suffix.lower() not in (".yaml", ".yml"):
            continue
        try:
            given = yaml.safe_load(entry.ref.read())
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        given = given.get("names") if isinstance(given, dict) else None
        if isinstance(given, list | dict):
            pairs: Iterable[tuple[Any, Any]] = given.items() if isinstance(given, dict) else enumerate(given)
            names |= {int(index): str(name) for index, name in pairs}
    return ("background", *(names[index] for index in sorted(names)))


class _ImageFinder:
    """Finds an image by the name that an annotation file calls it: in folders near this file first."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.by_name: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.is_image:
                self.by_name[entry.ref.name.name].append(entry)
                self.by_name[entry.ref.stem].append(entry)

    def find(self, name: str, file: Entry) -> Item | None:
        """Return the image with this file name whose path has most in common with the name and the file."""
        parts = name.replace("\\", "/").split("/")
        candidates = self.by_name.get(parts[-1], [])
        split = _split_of(file)

        def nearness(entry: Entry) -> tuple[bool, int, int]:
            item, _ = placed(entry)
            shared = sum(a == b for a, b in zip(reversed(entry.folders), reversed(parts[:-1]), strict=False))
            return (
                item.folder.split == split,
                shared,
                sum(a == b for a, b in zip(entry.folders, file.folders, strict=False)),
            )

        return placed(max(candidates, key=nearness))[0] if candidates else None


def _split_of(file: Entry) -> str | None:
    """Return the split that the path of an annotation file says, as in instances_val2017.json."""
    words = placed(Entry(file.ref, (*file.folders, *file.ref.stem.split("_"))))[0]
    return words.folder.split
