"""Annotations in formats that are not read, told with what to convert them to."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.tree import Entry

LOOKED_AT = 20  # files of a kind
BYTES_OF_XML = 4096
MASKS = "masks as PNG"
# What to do by the name of a format.
FORMATS = {
    "VGG Image Annotator (VIA)": "export them as COCO: in VIA, Annotation, Export Annotations (COCO format)",
    "Labelbox": f"convert them to COCO, or to {MASKS}",
    "Label Studio": "export them as COCO, or as Brush labels to PNG",
    "Supervisely": f"export them as COCO, or as {MASKS}",
    "CVAT": "export them as COCO 1.0 or as Segmentation mask 1.1: in CVAT, Export task dataset",
    "boxes of PASCAL VOC": "a mask needs the outlines of objects: annotate them, or add SegmentationClass/",
    "Aperio ImageScope": f"draw their outlines into {MASKS}, one for each image",
    "GeoJSON": f"draw their outlines into {MASKS} or GeoTIFF, as gdal_rasterize does",
    "shapefiles": f"draw their outlines into {MASKS} or GeoTIFF, as gdal_rasterize does",
    "CreateML": "a mask needs the outlines of objects: export them as COCO",
}


def report_foreign(entries: Sequence[Entry]) -> list[Finding]:
    """Report annotation files of known formats that are not read; for data sets without any masks."""
    found: dict[str, list[str]] = defaultdict(list)
    by_suffix: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_suffix[entry.ref.suffix].append(entry)
    for suffix, name in ((".geojson", "GeoJSON"), (".shp", "shapefiles")):
        found[name] += [entry.path for entry in by_suffix[suffix]]
    for suffix, format_of in ((".json", _format_of_json), (".ndjson", _format_of_json), (".xml", _format_of_xml)):
        names = {format_of(entry) for entry in by_suffix[suffix][:LOOKED_AT]} - {""}
        for name in sorted(names)[:1]:
            found[name] += [entry.path for entry in by_suffix[suffix]]
    findings = []
    for name, paths in found.items():
        what = f"the masks are annotations in {{n}} file{{s}} of {name}, which {{is}} not read"
        findings += finding_on(Severity.FAULT, what, FORMATS.get(name, ""), paths)
    return findings


def _format_of_json(entry: Entry) -> str:
    try:
        text = entry.ref.read()
        content: Any = json.loads(text.splitlines()[0] if entry.ref.suffix == ".ndjson" else text)
    except (ValueError, RecursionError, OSError, IndexError):
        return ""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return ""
    values = [value for value in content.values() if isinstance(value, dict)] if isinstance(content, dict) else []
    if "_via_img_metadata" in first or any({"filename", "regions"} <= value.keys() for value in values):
        return "VGG Image Annotator (VIA)"
    if first.keys() & {"data_row", "Labeled Data", "External ID"}:
        return "Labelbox"
    if {"data", "annotations"} <= first.keys() or {"image", "annotations", "annotator"} <= first.keys():
        return "Label Studio"
    if {"objects", "size"} <= first.keys():
        return "Supervisely"
    if {"image", "annotations"} <= first.keys():
        return "CreateML"
    return "GeoJSON" if first.get("type") == "FeatureCollection" else ""


def _format_of_xml(entry: Entry) -> str:
    text = entry.ref.read()[:BYTES_OF_XML].decode(errors="replace")
    root = re.search(r"<([A-Za-z]+)[\s>/]", text)
    names = {"annotations": "CVAT", "annotation": "boxes of PASCAL VOC", "Annotations": "Aperio ImageScope"}
    return names.get(root[1], "") if root else ""
