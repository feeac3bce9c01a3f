"""What the values in masks mean, and which masks don't fit."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from example_files import (
    CPU,
    Array,
    H,
    W,
    compose_proposal,
    finding_on,
    findings_of,
    make_pairs,
    masks_in_stripes,
    save,
    save_pairs,
)
from PIL import Image

from unetkit.data.mask_encoding import MaskEncoding
from unetkit.doctor import Severity, contact_sheet, diagnose, report


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ([0, 1], {"num_classes": 1}),
        ([0, 255], {"num_classes": 1}),
        ([0, 65535], {"num_classes": 1}),
        ([0, 200], {"num_classes": 1, "mask_values": [0, 200]}),
        ([0, 1, 255], {"num_classes": 1, "ignore_index": 255}),
        ([0, 1, 2], {"num_classes": 3}),
        ([0, 1, 2, 3, 4, 5, 6, 255], {"num_classes": 7, "ignore_index": 255}),
        ([0, 50, 100, 150, 200, 250], {"num_classes": 6, "mask_values": [0, 50, 100, 150, 200, 250]}),
    ],
)
def test_the_proposal_states_the_values_in_masks(tmp_path: Path, values: list[int], keys: dict[str, Any]) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, make_pairs(8)[0], masks_in_stripes(values, 8)), machine=CPU)
    assert diagnosis.faults == 0
    proposed = compose_proposal(diagnosis, tmp_path / "out").data
    for key in ("num_classes", "mask_values", "ignore_index"):
        assert proposed.get(key) == keys.get(key)


def test_the_foreground_may_be_1_in_some_masks_and_255_in_others(tmp_path: Path) -> None:
    images, masks = make_pairs(8)
    masks = {id: mask if i % 2 else mask // 255 for i, (id, mask) in enumerate(masks.items())}
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert finding_on(diagnosis, "the foreground is 1 in some masks, 255 in others").severity == Severity.NOTE
    assert diagnosis.plan.encoding == MaskEncoding()


def test_colours_become_classes_with_black_as_background(tmp_path: Path) -> None:
    red, blue = [0, 0, 255], [255, 0, 0]  # in OpenCV's order
    colours = np.array([[0, 0, 0], red, blue], np.uint8)
    masks = {id: colours[mask] for id, mask in masks_in_stripes([0, 1, 2], 8).items()}
    diagnosis = diagnose(save_pairs(tmp_path, make_pairs(8)[0], masks), machine=CPU)
    proposed = compose_proposal(diagnosis, tmp_path / "out").data
    assert proposed.mask_colours == [[0, 0, 0], [0, 0, 255], [255, 0, 0]]
    assert "    2 [255, 0, 0] " in report(diagnosis)
    assert "int32" not in report(diagnosis)


def test_the_colour_of_most_pixels_is_the_background_if_none_is_black(tmp_path: Path) -> None:
    red, green, void = [0, 0, 255], [0, 255, 0], [192, 224, 224]  # in OpenCV's order; PASCAL VOC's colour of void
    colours = np.array([green, red, red, void], np.uint8)
    masks = {id: colours[mask] for id, mask in masks_in_stripes([0, 1, 2, 3], 8).items()}
    diagnosis = diagnose(save_pairs(tmp_path, make_pairs(8)[0], masks), machine=CPU)
    proposed = compose_proposal(diagnosis, tmp_path / "out").data
    assert proposed.mask_colours == [[255, 0, 0], [0, 255, 0]]
    assert proposed.ignore_index == [224, 224, 192]


def test_palette_images_are_read_as_their_indices(tmp_path: Path) -> None:
    save_pairs(tmp_path, make_pairs(24)[0], {})
    (tmp_path / "masks").mkdir()
    for id, mask in masks_in_stripes([0, 1, 2]).items():
        picture = Image.fromarray(mask)
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
        picture.save(tmp_path / "masks" / f"{id}.png")
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.plan.encoding.values == (0, 1, 2)
    assert diagnosis.findings == ()


def test_broken_palette_images_are_one_finding(tmp_path: Path) -> None:
    images, masks = make_pairs(8)
    save_pairs(tmp_path, images, masks)
    for id in ("p01", "p02"):
        picture = Image.fromarray(masks[id])
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.save(tmp_path / "masks" / f"{id}.png")
        path = tmp_path / "masks" / f"{id}.png"
        path.write_bytes(path.read_bytes()[:60])
    finding = finding_on(diagnose(tmp_path, machine=CPU), "can't be read as an image")
    assert finding.names == ("masks/p01.png", "masks/p02.png")


def test_numbers_of_objects_are_not_taken_for_classes(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    for i, mask in enumerate(masks.values()):
        mask[:] = 0
        for k in range(20 + i):
            mask[k % 6 * 6 : k % 6 * 6 + 4, k // 6 * 6 : k // 6 * 6 + 4] = k + 1
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert "data.instances=" in finding_on(diagnosis, "44 values: are these classes, or numbers of objects?").fix
    proposed = compose_proposal(diagnosis, tmp_path / "out")
    assert proposed.data.instances == "boundary"
    assert "numbered objects: 20 to 43 in a mask" in report(diagnosis)
    assert contact_sheet(diagnosis).ndim == 3
    assert proposed.data.num_classes == proposed.model.num_classes == 3


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4, 5], [7, 300, 12000, 65535, 20]])
@pytest.mark.parametrize("is_colour", [False, True])
def test_few_objects_are_told_from_classes_by_their_connected_parts(
    numbers: list[int], is_colour: bool, tmp_path: Path
) -> None:
    images, masks = make_pairs(24)
    rng = np.random.default_rng(0)
    for id, mask in masks.items():
        mask = np.zeros(mask.shape, np.uint16)
        count = int(rng.integers(1, 6))
        for k in range(count):  # of the second list, each mask has numbers of its own
            number = k + 1 if numbers[0] == 1 else numbers[k] // 2 + int(rng.integers(1, 9)) * 4
            mask[2:9, k * 6 : k * 6 + 5] = number
        masks[id] = np.stack([mask * 7 % 256, mask % 251, mask // 251], 2).astype(np.uint8) if is_colour else mask
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    if is_colour and numbers[0] == 1:  # five colours, as of five classes
        assert diagnosis.plan.encoding.instances is None
    else:
        assert diagnosis.plan.encoding.instances == "boundary", diagnosis.findings
        assert diagnosis.faults == 0


def test_classes_that_lie_in_several_places_are_no_objects(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    for i, mask in enumerate(masks.values()):
        mask[:] = 0
        for k in range(2 + i % 4):
            mask[2:9, k * 6 : k * 6 + 5] = mask[15:20, k * 6 : k * 6 + 5] = k + 1
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert diagnosis.plan.encoding.values == (0, 1, 2, 3, 4, 5)


def test_masks_of_a_single_value_are_a_fault(tmp_path: Path) -> None:
    images, masks = make_pairs(8)
    save_pairs(tmp_path, images, {id: np.full((H, W), 7, np.uint8) for id in masks})
    assert "single value 7" in findings_of(diagnose(tmp_path, machine=CPU), Severity.FAULT)[0].what


def test_a_stray_value_is_named_and_does_not_become_a_class(tmp_path: Path) -> None:
    images, masks = make_pairs(60)
    masks["p07"][3, 4] = 77
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    stray = finding_on(diagnosis, "1 stray pixel of value 77 in 1 mask of 60")
    assert stray.names == ("p07.png",)
    assert "correct" in stray.fix
    assert diagnosis.faults == 1
    assert diagnosis.plan.encoding == MaskEncoding()
    assert compose_proposal(diagnosis, tmp_path / "out").data.get("ignore_index") is None


def test_a_rare_class_among_numbered_classes_is_asked_about(tmp_path: Path) -> None:
    images, masks = make_pairs(60)[0], masks_in_stripes([0, 1], 60)
    masks["p07"][3, 4] = 2
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert finding_on(diagnosis, "only 1 mask of 60 has the value 2").severity == Severity.WARNING
    assert diagnosis.plan.num_classes == 3


def discs(*values: int) -> Array:
    mask = np.zeros((96, 96), np.uint8)
    for i, value in enumerate(values):
        cv2.circle(mask, (24 + 24 * i, 24 + 24 * i), 11, value, -1)
    return mask


@pytest.mark.parametrize(("values", "mask_values"), [((100, 200), [0, 100, 200]), ((255, 255), None)])
def test_classes_in_jpegs_are_seen_by_their_flat_areas(
    tmp_path: Path, values: tuple[int, ...], mask_values: list[int] | None
) -> None:
    for id, image in make_pairs(8, size=(96, 96))[0].items():
        save(tmp_path / "images" / f"{id}.png", image)
        save(tmp_path / "masks" / f"{id}.jpg", discs(*values[: 1 + int(id[1:]) % 2]))  # every second has one disc
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.faults == 0
    assert compose_proposal(diagnosis, tmp_path / "out").data.get("mask_values") == mask_values
    finding = finding_on(diagnosis, "8 masks are JPEG")
    assert finding.severity == (Severity.WARNING if mask_values else Severity.NOTE)
    assert ("flat areas of 0, 100, 200" in finding.what) == bool(mask_values)


def test_the_only_jpeg_among_masks_of_0_and_1_has_no_stray_value(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    masks = {id: mask // 255 for id, mask in masks.items()}
    save_pairs(tmp_path, images, {id: mask for id, mask in masks.items() if id != "p00"})
    save(tmp_path / "masks" / "p00.jpg", np.zeros((H, W), np.uint8))
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.faults == 0
    assert diagnosis.plan.encoding == MaskEncoding()
