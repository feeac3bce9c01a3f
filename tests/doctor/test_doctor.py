"""The doctor on folders full of faults, on clean ones, and its proposal through the door of train.py."""

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.rle import encode_rle
from unetkit.doctor import Diagnosis, Finding, Machine, Severity, contact_sheet, diagnose, report, write_experiment
from unetkit.doctor.report import _choose
from unetkit.errors import UserError
from unetkit.models import activation_bytes
from unetkit.training.run import prepare_data

ROOT = Path(__file__).parents[2]
Array = NDArray[Any]
CPU = Machine("a CPU", False, 8 * 2**30)
GPU = Machine("a GPU", True, 24 * 2**30)
H, W = 36, 48


def disc(rng: np.random.Generator, height: int = H, width: int = W) -> NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    return np.asarray((y - rng.integers(8, height - 8)) ** 2 + (x - rng.integers(8, width - 8)) ** 2 < 36)


def scene(rng: np.random.Generator, mask: NDArray[np.bool_], channels: int = 3) -> Array:
    """Soft clouds with a bright thing where the mask is."""
    clouds = cv2.resize(rng.integers(0, 160, (5, 6, channels), dtype=np.uint8), mask.shape[::-1])
    clouds[mask] = 230
    return clouds


def binary(mask: NDArray[np.bool_]) -> Array:
    return mask.astype(np.uint8) * 255


def pairs(count: int, seed: int = 0, size: tuple[int, int] = (H, W)) -> tuple[dict[str, Array], dict[str, Array]]:
    rng = np.random.default_rng(seed)
    masks = {f"p{i:02}": disc(rng, *size) for i in range(count)}
    return {id: scene(rng, mask) for id, mask in masks.items()}, {id: binary(mask) for id, mask in masks.items()}


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array)


def save_pairs(root: Path, images: dict[str, Array], masks: dict[str, Array], mask_suffix: str = "") -> Path:
    for name, image in images.items():
        save(root / "images" / f"{name}.png", image)
    for name, mask in masks.items():
        save(root / "masks" / f"{name}{mask_suffix}.png", mask)
    return root


def found(diagnosis: Diagnosis, severity: Severity) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.severity == severity]


def the(diagnosis: Diagnosis, said: str) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if said in finding.what]
    return finding


def composed(diagnosis: Diagnosis, output: Path) -> DictConfig:
    assert diagnosis.experiment is not None
    name = write_experiment(diagnosis.experiment, output)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        added = f"hydra.searchpath=[file://{output}]"
        return compose("train", [added, f"experiment={name}", "run_dir=unused"])


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return save_pairs(tmp_path / "clean", *pairs(24))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good pairs and one or two of each fault."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    images, masks = pairs(20)
    for name in ("soft", "size", "turned", "deep", "rgba", "five", "colour", "jpeg", "broken", "photo"):
        mask = disc(rng)
        images[name], masks[name] = scene(rng, mask), binary(mask)
    half = cv2.resize(masks["soft"], (W // 2, H // 2), interpolation=cv2.INTER_AREA)
    masks["soft"] = cv2.resize(half, (W, H), interpolation=cv2.INTER_CUBIC)
    masks["size"] = masks["size"][: H // 2]
    masks["turned"] = masks["turned"].T
    masks["colour"] = np.dstack([masks["colour"], masks["colour"] // 2, masks["colour"] // 3])
    masks["photo"] = rng.integers(0, 250, (H, W), dtype=np.uint8)
    images["deep"] = images["deep"].astype(np.uint16) * 200
    images["rgba"] = np.dstack([images["rgba"], np.full((H, W), 255, np.uint8)])
    images["constant"], masks["constant"] = np.full((H, W, 3), 7, np.uint8), np.zeros((H, W), np.uint8)
    for twin, copy in (("twin_a", images["p00"] // 2), ("twin_b", images["p00"] // 2)):
        images[twin], masks[twin] = copy, masks["p00"]
    other = scene(rng, disc(rng))
    for name in ("other_a", "other_b"):
        images[name], masks[name] = other, binary(disc(rng))
    images["lonely"], masks["orphan"] = scene(rng, disc(rng)), binary(disc(rng))
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
def told(faulty: Path) -> Diagnosis:
    return diagnose(faulty, machine=CPU)


@pytest.mark.parametrize(
    ("said", "name", "fix", "severity"),
    [
        ("1 image has no mask", "lonely.png", "add masks of the same name", Severity.FAULT),
        ("1 mask has no image", "orphan.png", "add the images", Severity.FAULT),
        ("1 file: can't be read", "images/broken.png", "replace or remove", Severity.FAULT),
        ("has the name of another", "images/p01.png", "keep one", Severity.FAULT),
        ("not of the image's size", "size (48x18 for 48x36)", "INTER_NEAREST", Severity.FAULT),
        ("height and width are swapped", "turned (36x48 for 48x36)", "EXIF", Severity.FAULT),
        ("bit depths can't be mixed: 8-bit (34) and 16-bit (1)", "deep", "are 16-bit", Severity.FAULT),
        ("numbers of channels can't be mixed", "five", "same channels", Severity.FAULT),
        ("is in colour, the others are not", "colour.png", "one channel", Severity.FAULT),
        ("soft edges", "soft.png", "max() / 2", Severity.FAULT),
        ("like a photograph", "photo.png", "right files?", Severity.FAULT),
        ("of a single value", "constant", "remove them", Severity.WARNING),
        ("equal images has different masks", "other_a = other_b", "mask that is right", Severity.WARNING),
        ("1 group of equal images (2", "twin_a = twin_b", "keep one", Severity.WARNING),
        ("1 group of nearly equal images (2", "p00 = twin_a", "keep one", Severity.WARNING),
        ("another kind (.txt)", "images/notes.txt", "convert", Severity.WARNING),
        ("1 folder within images/ is not read", "images/more", "move", Severity.WARNING),
        ("is JPEG", "jpeg.jpg", "PNG", Severity.NOTE),
        ("alpha", "rgba", "dropped", Severity.NOTE),
    ],
)
def test_each_fault_is_found_and_named_with_its_fix(
    told: Diagnosis, said: str, name: str, fix: str, severity: Severity
) -> None:
    finding = the(told, said)
    assert finding.names == (name,)
    assert fix in finding.fix
    assert finding.severity == severity


def test_nothing_else_is_found_and_the_worst_comes_first(told: Diagnosis) -> None:
    assert told.faults == 11
    assert len(told.findings) == 19
    text = report(told)
    heads = [text.index(head) for head in ("STOPS TRAINING", "WORTH A LOOK", "GOOD TO KNOW", "11 faults to put right")]
    assert heads == sorted(heads)
    assert max(map(len, text.splitlines())) <= 120


def test_the_contact_sheet_has_a_row_for_each_trouble(told: Diagnosis) -> None:
    assert contact_sheet(told).shape[0] > 12 * 160  # four rows of coverage, eight of findings


def test_a_clean_folder_raises_no_alarm(clean: Path) -> None:
    diagnosis = diagnose(clean, machine=CPU)
    assert diagnosis.findings == ()
    assert len(diagnosis.coverage) == 24
    assert diagnosis.coverage["p00"] == pytest.approx(np.mean(pairs(24)[1]["p00"] > 0))
    assert "Nothing wrong was found" in report(diagnosis)


@pytest.mark.parametrize(
    ("image_name", "mask_name", "suffix", "fault"),
    [
        ("{}", "{}_mask", "_mask", None),
        ("{}", "{}-gt", "-gt", None),
        ("{}_sat", "{}_mask", "", "end in another word"),
        ("img_{}", "label_{}", "", "begin with another word"),
        ("scan{}", "{}truth", "", "only the number is the same"),
        ("A{}", "a{}", "", "in other letter case"),
    ],
)
def test_how_masks_are_named(tmp_path: Path, image_name: str, mask_name: str, suffix: str, fault: str | None) -> None:
    images, masks = pairs(24)
    renamed = {image_name.format(id[1:]): image for id, image in images.items()}
    save_pairs(tmp_path, renamed, {mask_name.format(id[1:]): mask for id, mask in masks.items()})
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.layout.mask_suffix == suffix
    assert len(diagnosis.coverage) == 24
    assert [(fault or "-") in finding.what for finding in found(diagnosis, Severity.FAULT)] == [True] * bool(fault)
    if suffix:
        assert composed(diagnosis, tmp_path / "out").data.mask_suffix == suffix


def test_folders_of_other_names_are_read_and_to_be_renamed(clean: Path) -> None:
    (clean / "images").rename(clean / "imgs")
    (clean / "masks").rename(clean / "Labels")
    diagnosis = diagnose(clean, machine=CPU)
    assert f"mv {clean}/imgs {clean}/images" in the(diagnosis, "imgs/").fix
    assert f"mv {clean}/Labels {clean}/masks" in the(diagnosis, "Labels/").fix
    assert len(diagnosis.coverage) == 24
    assert diagnosis.faults == 2


def test_images_and_masks_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    images, masks = pairs(24)
    for name, image in images.items():
        save(tmp_path / f"{name}.png", image)
        save(tmp_path / f"{name}_m.png", masks[name])
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert "mv *_m.* masks/" in the(diagnosis, "lie in one folder").fix
    assert len(diagnosis.coverage) == 24


def test_images_without_any_mask(tmp_path: Path) -> None:
    for name, image in pairs(3)[0].items():
        save(tmp_path / f"{name}.png", image)
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert "there are no masks at all" in found(diagnosis, Severity.FAULT)[1].what
    assert diagnosis.experiment is None
    assert "3 images" in report(diagnosis)
    assert contact_sheet(diagnosis).size


def test_what_train_stops_at_is_never_said_to_run(tmp_path: Path) -> None:
    images, masks = pairs(24)
    save_pairs(tmp_path / "empty", images, {id: mask * 0 for id, mask in masks.items()})
    assert the(diagnose(tmp_path / "empty", machine=CPU), "all masks are empty").severity == Severity.FAULT
    save_pairs(tmp_path / "parts" / "train", images, masks)
    (tmp_path / "parts" / "val" / "masks").mkdir(parents=True)
    assert the(diagnose(tmp_path / "parts", machine=CPU), "val/masks is empty").severity == Severity.FAULT
    for root, said in (
        ("empty", "no mask of data=folder has a foreground pixel"),
        ("parts", "val/images holds no image"),
    ):
        options = ["data=folder", f"data.root={tmp_path / root}", f"run_dir={tmp_path}", f"data.cache_dir={tmp_path}"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("train", options)
        with pytest.raises(UserError, match=said):
            prepare_data(cfg)


def test_a_wrong_folder_is_one_line(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing is there"):
        diagnose(tmp_path / "empty", machine=CPU)
    with pytest.raises(UserError, match=rf"try data.root={clean}"):
        diagnose(tmp_path, machine=CPU)
    for name, image in pairs(2)[0].items():
        save(tmp_path / "yolo" / "images" / "train" / f"{name}.png", image)
    with pytest.raises(UserError, match=r"1 folder within images/ is not read .images/train"):
        diagnose(tmp_path / "yolo", machine=CPU)
    with pytest.raises(UserError, match=r"data\.root is not set"):
        diagnose(None, machine=CPU)
    with pytest.raises(UserError, match="does not exist"):
        diagnose(tmp_path / "nowhere", machine=CPU)


def class_masks(values: list[int], dtype: type[np.generic] = np.uint8) -> dict[str, Array]:
    """Each value in a stripe of each mask, the last in every second one."""
    masks = {}
    for i in range(24):
        shown = values if i % 2 == 0 else values[:-1]
        masks[f"p{i:02}"] = np.repeat(np.array(shown, dtype), -(-H // len(shown)))[:H, None].repeat(W, 1)
    return masks


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
def test_the_values_in_masks_give_the_keys(tmp_path: Path, values: list[int], keys: dict[str, Any]) -> None:
    masks = class_masks(values, np.uint16 if max(values) > 255 else np.uint8)
    diagnosis = diagnose(save_pairs(tmp_path, pairs(24)[0], masks), machine=CPU)
    assert diagnosis.faults == 0
    proposed = composed(diagnosis, tmp_path / "out").data
    for key in ("num_classes", "mask_values", "ignore_index"):
        assert proposed.get(key) == keys.get(key)


def test_colours_and_palettes(tmp_path: Path) -> None:
    images = pairs(24)[0]
    red, blue = [0, 0, 255], [255, 0, 0]  # in OpenCV's order
    palette = {id: np.array([[0, 0, 0], red, blue], np.uint8)[m] for id, m in class_masks([0, 1, 2]).items()}
    diagnosis = diagnose(save_pairs(tmp_path / "colours", images, palette), machine=CPU)
    assert composed(diagnosis, tmp_path / "out").data.mask_colours == [[0, 0, 0], [0, 0, 255], [255, 0, 0]]
    assert "    2 [255, 0, 0] " in report(diagnosis)
    assert "int32" not in report(diagnosis)
    save_pairs(tmp_path / "palette", images, {})
    (tmp_path / "palette" / "masks").mkdir()
    for id, mask in class_masks([0, 1, 2]).items():
        picture = Image.fromarray(mask)
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
        picture.save(tmp_path / "palette" / "masks" / f"{id}.png")
    diagnosis = diagnose(tmp_path / "palette", machine=CPU)
    assert diagnosis.plan.code.values == (0, 1, 2)
    assert diagnosis.findings == ()


def test_numbered_objects_are_told_from_classes(tmp_path: Path) -> None:
    images, masks = pairs(24)
    for i, mask in enumerate(masks.values()):
        mask[:] = 0
        for k in range(20 + i):
            mask[k % 6 * 6 : k % 6 * 6 + 4, k // 6 * 6 : k // 6 * 6 + 4] = k + 1
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert "(mask > 0)" in the(diagnosis, "44 values: classes, or numbers of objects?").fix
    masks = {id: np.full((H, W), 7, np.uint8) for id in masks}
    assert "single value 7" in found(diagnose(save_pairs(tmp_path, images, masks), machine=CPU), Severity.FAULT)[0].what


def test_a_slip_of_the_pen_is_named(clean: Path) -> None:
    for i in range(24, 60):
        for kind in ("images", "masks"):
            save(clean / kind / f"p{i}.png", pairs(1, seed=i)[kind == "masks"]["p00"])
    mask = pairs(24)[1]["p07"]
    mask[3, 4] = 77
    save(clean / "masks" / "p07.png", mask)
    diagnosis = diagnose(clean, machine=CPU)
    stray = the(diagnosis, "1 stray pixel of value 77 in 1 mask of 60")
    assert stray.names == ("p07.png",)
    assert "mend it" in stray.fix
    assert diagnosis.faults == 1
    assert diagnosis.plan.code == MaskEncoding()
    assert composed(diagnosis, clean / "out").data.get("ignore_index") is None


def test_a_rare_class_among_classes_that_count_up_is_asked_about(tmp_path: Path) -> None:
    masks = class_masks([0, 1])
    images = pairs(60)[0]
    masks = {id: masks[f"p{i % 24:02}"].copy() for i, id in enumerate(images)}
    masks["p07"][3, 4] = 2
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert the(diagnosis, "the mask value 2 stands in only 1 mask of 60").severity == Severity.WARNING
    assert diagnosis.plan.num_classes == 3


def discs(*values: int) -> Array:
    mask = np.zeros((96, 96), np.uint8)
    for i, value in enumerate(values):
        cv2.circle(mask, (24 + 24 * i, 24 + 24 * i), 11, value, -1)
    return mask


@pytest.mark.parametrize(("values", "wanted"), [((100, 200), [0, 100, 200]), ((255, 255), None)])
def test_classes_in_jpegs_are_seen(tmp_path: Path, values: tuple[int, ...], wanted: list[int] | None) -> None:
    for id, image in pairs(24, size=(96, 96))[0].items():
        save(tmp_path / "images" / f"{id}.png", image)
        save(tmp_path / "masks" / f"{id}.jpg", discs(*values[: 1 + int(id[1:]) % 2]))  # every second has one disc
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.faults == 0
    assert composed(diagnosis, tmp_path / "out").data.get("mask_values") == wanted
    told = the(diagnosis, "24 masks are JPEG")
    assert told.severity == (Severity.WARNING if wanted else Severity.NOTE)
    assert ("flat areas of 0, 100, 200" in told.what) == bool(wanted)


def test_the_only_jpeg_among_masks_of_0_and_1_is_no_stray(tmp_path: Path) -> None:
    images, masks = pairs(24)
    masks = {id: mask // 255 for id, mask in masks.items()}
    save_pairs(tmp_path, images, {id: mask for id, mask in masks.items() if id != "p00"})
    save(tmp_path / "masks" / "p00.jpg", np.zeros((H, W), np.uint8))
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.faults == 0
    assert diagnosis.plan.code == MaskEncoding()


def test_void_is_hatched_on_the_contact_sheet(tmp_path: Path) -> None:
    images = {id: np.full((H, W, 3), 230, np.uint8) for id in class_masks([0, 1])}
    diagnosis = diagnose(save_pairs(tmp_path, images, class_masks([0, 1, 2, 255])), machine=CPU)
    stripes = (contact_sheet(diagnosis) == 60).all(-1).mean()
    assert stripes > 0.01
    save_pairs(tmp_path / "plain", images, class_masks([0, 1, 2, 3]))
    assert (contact_sheet(diagnose(tmp_path / "plain", machine=CPU)) == 60).all(-1).mean() < stripes / 4


@pytest.mark.parametrize("count", [1, 2, 4, 5, 11, 24])
def test_no_pair_is_least_and_greatest_at_once(tmp_path: Path, count: int) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *pairs(count)), machine=CPU)
    shown = [
        id for caption, ids in _choose(diagnosis) if caption.startswith(("least", "typical", "great")) for id in ids
    ]
    assert len(shown) == len(set(shown)) == min(count, 12)


def test_of_equal_images_the_masks_that_differ_are_named(tmp_path: Path) -> None:
    images, masks = pairs(24)
    images["p07"] = images["p08"] = images["p06"]
    masks["p07"] = masks["p06"]
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert the(diagnosis, "equal images has different masks").names == ("p06 = p08",)


def test_copies_in_several_splits(tmp_path: Path) -> None:
    images, masks = pairs(24)
    save_pairs(tmp_path / "train", images, masks)
    save_pairs(tmp_path / "valid", {"x": images["p03"]}, {"x": masks["p03"]})
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert the(diagnosis, "equal images is in several splits").names == ("train/p03 = val/x",)
    assert f"mv {tmp_path}/valid {tmp_path}/val" in the(diagnosis, "is called val here").fix
    assert "split" not in OmegaConf.create(diagnosis.experiment or "").data


@pytest.mark.parametrize(("name", "split"), [("s{:02}", "contiguous"), ("s{}", "fraction")])
def test_slices_of_a_volume_are_split_in_blocks(tmp_path: Path, name: str, split: str) -> None:
    rng = np.random.default_rng(3)
    long = cv2.resize(rng.integers(0, 255, (6, 30), dtype=np.uint8), (30 * 12, H))
    images = {name.format(i): long[:, 4 * i : 4 * i + W] for i in range(24)}  # a window that moves on
    masks = dict(zip(images, pairs(24)[1].values(), strict=True))
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert composed(diagnosis, tmp_path / "out").data.split == split
    assert the(diagnosis, "neighbouring images are alike").severity == (
        Severity.NOTE if split == "contiguous" else Severity.WARNING
    )


def test_tgs_salt_as_from_kaggle(clean: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for path in sorted(clean.glob("*/*.png")):
            if path.parts[-2:] != ("masks", "p05.png"):
                archive.write(path, path.relative_to(clean))
    masks = pairs(24)[1]
    codes = {id: encode_rle(mask > 0) for id, mask in masks.items()} | {"p07": "1 3"}
    (tmp_path / "train.csv").write_text("id,rle_mask\n" + "".join(f"{id},{code}\n" for id, code in codes.items()))
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.layout.source == "tgs_salt"
    assert the(diagnosis, "not what train.csv says").names == ("p07",)
    assert diagnosis.faults == 1
    assert diagnosis.coverage["p05"] == pytest.approx(np.mean(masks["p05"] > 0))
    assert composed(diagnosis, tmp_path / "out").data.name == tmp_path.name


def test_the_proposed_batch_is_as_large_as_memory_allows(tmp_path: Path) -> None:
    root = save_pairs(tmp_path, *pairs(40, size=(40, 400)))
    free = diagnose(root, machine=GPU)
    cfg = composed(free, tmp_path / "free")
    assert (cfg.data.crop_size, cfg.data.batch_size, cfg.trainer.precision) == (256, 8, 16)
    assert cfg.model.channels[0] == 64
    assert cfg.data.channels == 3
    network = instantiate(cfg.model)
    one = activation_bytes(network, torch.zeros(1, 3, 64, 64)) * 4**2
    weights = sum(p.numel() for p in network.parameters())
    tight = diagnose(root, machine=Machine("a small GPU", True, 2 * (16 * weights + 5 * one // 2)))
    assert composed(tight, tmp_path / "tight").data.batch_size == 2  # of two and a half that fit
    assert composed(tight, tmp_path / "tight").model.norm == "group"


@pytest.mark.parametrize(("height", "levels"), [(24, 3), (101, 5), (300, 5)])
def test_depth_follows_the_size(tmp_path: Path, height: int, levels: int) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *pairs(4, size=(height, 24))), machine=CPU)
    assert len(composed(diagnosis, tmp_path / "out").model.channels) == levels
    assert "only 4 pairs" in report(diagnosis)


def test_small_things_get_a_loss_that_looks_for_them(tmp_path: Path) -> None:
    images, masks = pairs(24, size=(100, 100))
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert composed(diagnosis, tmp_path / "out").loss._target_ == "unetkit.losses.WeightedSum"


def door(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_last_line_trains(clean: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = door("scripts/doctor.py", f"data.root={clean}", f"output={output}")
    assert done.returncode == 0, done.stderr
    advised = shlex.split(done.stdout.splitlines()[-1])
    assert (output / "report.txt").read_text() in done.stdout
    assert cv2.imread(str(output / "contact_sheet.png")) is not None
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu", f"data.cache_dir={tmp_path / 'cache'}"]
    command = [*advised, *quick, f"hydra.run.dir={tmp_path / 'run'}"]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "summary.json").exists()


def test_status_1_where_training_would_stop(faulty: Path, tmp_path: Path) -> None:
    done = door("scripts/doctor.py", f"data.root={faulty}", f"output={tmp_path}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "11 faults" in done.stdout
