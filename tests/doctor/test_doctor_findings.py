"""Each kind of problem is found and told with its fix, in the report, on the contact sheet and by the command."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from example_files import (
    CPU,
    ROOT,
    H,
    W,
    binary,
    disc,
    finding_on,
    image_of,
    make_pairs,
    masks_in_stripes,
    save,
    save_pairs,
)
from tiff_files import write_tiff

from unetkit.doctor import Diagnosis, Severity, contact_sheet, diagnose, report
from unetkit.doctor.contact_sheet import choose_rows
from unetkit.plots.images import CELL


@pytest.fixture(scope="module")
def faulty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good pairs and one or two of each fault."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    images, masks = make_pairs(20)
    for name in ("soft", "size", "turned", "deep", "rgba", "five", "colour", "jpeg", "broken", "photo"):
        mask = disc(rng)
        images[name], masks[name] = image_of(rng, mask), binary(mask)
    half = cv2.resize(masks["soft"], (W // 2, H // 2), interpolation=cv2.INTER_AREA)
    masks["soft"] = cv2.resize(half, (W, H), interpolation=cv2.INTER_CUBIC)
    masks["size"] = masks["size"][: H // 2]
    masks["turned"] = masks["turned"].T
    masks["colour"] = np.dstack([masks["colour"], masks["colour"] // 2, masks["colour"] // 3])
    masks["photo"] = rng.integers(0, 250, (H, W), dtype=np.uint8)
    images["deep"] = images["deep"].astype(np.uint16) * 200
    images["rgba"] = np.dstack([images["rgba"], images["rgba"][..., 0]])
    images["constant"], masks["constant"] = np.full((H, W, 3), 7, np.uint8), np.zeros((H, W), np.uint8)
    for twin, copy in (("twin_a", images["p00"] // 2), ("twin_b", images["p00"] // 2)):
        images[twin], masks[twin] = copy, masks["p00"]
    other = image_of(rng, disc(rng))
    for name in ("other_a", "other_b"):
        images[name], masks[name] = other, binary(disc(rng))
    images["lonely"], masks["orphan"] = image_of(rng, disc(rng)), binary(disc(rng))
    save_pairs(root, images, masks)
    (root / "masks" / "jpeg.png").unlink()
    save(root / "masks" / "jpeg.jpg", masks["jpeg"])
    (root / "images" / "five.png").unlink()
    save(root / "images" / "five.npy", rng.integers(0, 255, (H, W, 5), dtype=np.uint8))
    (root / "images" / "broken.png").write_bytes(b"\x89PNG no more")
    save(root / "images" / "p01.JPG", images["p01"])
    (root / "images" / "p02.png").rename(root / "images" / "p02.PNG")
    for name in (".hidden.png", "notes.txt"):
        (root / "images" / name).write_text("no image")
    (root / "images" / "more").mkdir()
    return root


@pytest.fixture(scope="module")
def faulty(faulty_folder: Path) -> Diagnosis:
    return diagnose(faulty_folder, machine=CPU)


@pytest.mark.parametrize(
    ("what", "name", "fix", "severity"),
    [
        ("1 image has no mask", "images/lonely.png", "add masks of the same name", Severity.FAULT),
        ("1 mask has no image", "masks/orphan.png", "add the images", Severity.FAULT),
        (
            "1 file can't be used: it can't be read as an image",
            "images/broken.png",
            "replace or remove",
            Severity.FAULT,
        ),
        ("has the same name as another", "images/p01.png", "keep one", Severity.FAULT),
        ("has another size than the image", "size (mask 48x18, image 48x36)", "INTER_NEAREST", Severity.FAULT),
        ("height and width swapped", "turned (mask 36x48, image 48x36)", "EXIF", Severity.FAULT),
        ("bit depths can't be mixed: 8-bit (34) and 16-bit (1)", "deep", "are 16-bit", Severity.FAULT),
        ("numbers of channels can't be mixed", "five", "same channels", Severity.FAULT),
        ("is in colour, the others are not", "colour.png", "one channel", Severity.FAULT),
        ("soft edges", "soft.png", "nearer value", Severity.FAULT),
        ("like a photograph", "photo.png", "right files", Severity.FAULT),
        ("the same value in all pixels", "constant", "remove them", Severity.WARNING),
        ("equal images has different masks", "other_a = other_b", "correct mask", Severity.WARNING),
        ("1 group of equal images (2", "twin_a = twin_b", "keep one", Severity.WARNING),
        ("1 group of nearly equal images (2", "p00 = twin_a", "keep one", Severity.WARNING),
        ("of a kind that is not read (.txt)", "images/notes.txt", "convert", Severity.WARNING),
        ("is JPEG", "jpeg.jpg", "PNG", Severity.NOTE),
        ("alpha channel that is not the same everywhere", "rgba", "set data.channels=4", Severity.WARNING),
    ],
)
def test_each_problem_is_found_with_its_files_and_its_fix(
    faulty: Diagnosis, what: str, name: str, fix: str, severity: Severity
) -> None:
    finding = finding_on(faulty, what)
    assert finding.names == (name,)
    assert fix in finding.fix
    assert finding.severity == severity


def test_the_report_tells_the_most_serious_first_and_nothing_else(faulty: Diagnosis) -> None:
    assert faulty.faults == 11
    assert len(faulty.findings) == 18
    text = report(faulty)
    places = [text.index(part) for part in ("STOPS TRAINING", "WORTH A LOOK", "GOOD TO KNOW", "correct 11 faults")]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 120


def test_the_contact_sheet_has_a_row_for_each_finding(faulty: Diagnosis) -> None:
    assert contact_sheet(faulty).shape[1] > 8 * CELL  # four pairs beside each other
    rows_of_findings = 8
    assert contact_sheet(faulty).shape[0] > (4 + rows_of_findings) * H


def test_files_with_nothing_wrong_have_no_finding(tmp_path: Path) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *make_pairs(24)), machine=CPU)
    assert diagnosis.findings == ()
    assert len(diagnosis.coverage) == 24
    assert diagnosis.coverage["p00"] == pytest.approx(np.mean(make_pairs(24)[1]["p00"] > 0))
    assert "Nothing wrong was found" in report(diagnosis)


@pytest.mark.parametrize("count", [1, 2, 5, 24])
def test_no_pair_is_on_two_rows_of_coverage(tmp_path: Path, count: int) -> None:
    rows = choose_rows(diagnose(save_pairs(tmp_path, *make_pairs(count)), machine=CPU))
    shown = [id for caption, ids in rows if caption.endswith("coverage") for id in ids]
    assert len(shown) == len(set(shown)) == min(count, 12)


def examine(root: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/doctor.py", f"data.root={root}", f"output={output}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_the_command_ends_with_status_1_if_training_would_stop(faulty_folder: Path, tmp_path: Path) -> None:
    done = examine(faulty_folder, tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "11 faults" in done.stdout


def test_void_pixels_are_hatched_on_the_contact_sheet(tmp_path: Path) -> None:
    images = {id: np.full((H, W, 3), 230, np.uint8) for id in masks_in_stripes([0, 1])}
    diagnosis = diagnose(save_pairs(tmp_path, images, masks_in_stripes([0, 1, 2, 255])), machine=CPU)
    stripes = (contact_sheet(diagnosis) == 60).all(-1).mean()
    assert stripes > 0.01
    save_pairs(tmp_path / "plain", images, masks_in_stripes([0, 1, 2, 3]))
    assert (contact_sheet(diagnose(tmp_path / "plain", machine=CPU)) == 60).all(-1).mean() < stripes / 4


@pytest.mark.parametrize(("value", "what"), [(0, "all masks are empty"), (255, "all masks are full")])
def test_masks_that_are_all_alike_are_a_fault(value: int, what: str, tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    save_pairs(tmp_path, images, {id: np.full((H, W), value, np.uint8) for id in masks})
    assert finding_on(diagnose(tmp_path, machine=CPU), what).severity == Severity.FAULT


def test_pixels_without_data_are_found(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    for id, image in images.items():
        deep = image[..., :1].astype(np.float32)
        deep[:5] = -9999
        write_tiff(tmp_path / "images" / f"{id}.tif", deep, rgb=False)
    diagnosis = diagnose(save_pairs(tmp_path, {}, masks), machine=CPU)
    finding = finding_on(diagnosis, "24 images have pixels without data, marked by -9999")
    assert (finding.severity, finding.fix.split(";")[0]) == (
        Severity.NOTE,
        "nothing to do: they are void, and left out of the range of values",
    )
    assert contact_sheet(diagnosis).size > 0


def test_values_that_float32_can_not_hold_are_compared(tmp_path: Path) -> None:
    images, masks = make_pairs(4)
    huge = {name: image[..., 0] * 1e300 for name, image in images.items()}
    save_pairs(tmp_path, {}, masks)
    for name, image in huge.items():
        save(tmp_path / "images" / f"{name}.npy", image)
    save(tmp_path / "images" / "copy.npy", next(iter(huge.values())) * 0.5)
    save(tmp_path / "masks" / "copy.png", next(iter(masks.values())))
    assert finding_on(diagnose(tmp_path, machine=CPU), "nearly equal images").ids == ("copy", "p00")


def test_folders_that_leave_nothing_to_train_on_are_a_fault(tmp_path: Path) -> None:
    save_pairs(tmp_path / "val", *make_pairs(3))
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert finding_on(diagnosis, "masks for val, but no train/").severity == Severity.FAULT
    assert diagnosis.experiment is None
