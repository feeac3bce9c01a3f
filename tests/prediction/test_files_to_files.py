"""Files are predicted into masks, probabilities, overlays and submissions."""

import csv
import os
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
import rasterio
import segyio
import torch
from conftest import Array, WriteImage
from PIL import Image
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef, result_names
from unetkit.data.layout.inputs import find_images
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.pair import Pair
from unetkit.data.rle import decode_rle
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.plots.images import CLASS_COLOURS
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.files import FilePredictor
from unetkit.prediction.options import OutputOptions
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.writers import OverlayPng

RNG = np.random.default_rng(0)
DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


class Bright(nn.Module):
    """Predicts foreground where a pixel is brighter than the middle; with more classes, brighter ones are higher."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.num_downsamplings = 0
        self.levels = nn.Parameter(torch.arange(classes) + 0.0)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.levels) == 1:
            return (x - 0.5) * 20 + self.levels
        return -20 * (x * (len(self.levels) - 1) - self.levels.view(1, -1, 1, 1)).abs()


def bright(classes: int = 1, value_range: tuple[float, float] | None = None, tile: int = 64) -> Ensemble:
    predictor = Predictor(Bright(classes), Preprocessing(1, value_range), tile=tile, overlap=16)
    return Ensemble([predictor], classes=max(classes, 2))


def predict(place: Path, options: OutputOptions, ensemble: Ensemble | None = None, min_area: int = 0) -> FilePredictor:
    predictor = FilePredictor(replace(ensemble or bright(), min_area=min_area), options)
    predictor.run(find_images(place))
    return predictor


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def read_png(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def image_of(shape: tuple[int, ...]) -> Array:
    """Return an image of bright and dark pixels, none near the threshold."""
    return RNG.choice(np.array([10, 240], np.uint8), shape)


@pytest.mark.parametrize("shape", [(30, 40), (150, 91)], ids=["whole", "tiles"])
@pytest.mark.parametrize("suffix", [".png", ".npy", ".tif"])
def test_masks_probabilities_overlays_and_submission_are_written(
    shape: tuple[int, int], suffix: str, write_image: WriteImage, tmp_path: Path
) -> None:
    image = image_of(shape)
    write_image(tmp_path / "in" / f"a{suffix}", image)
    write = ["masks", "probabilities", "overlays"]
    done = predict(tmp_path / "in", OutputOptions(tmp_path / "out", write, submission=tmp_path / "s.csv"))
    assert (done.done, done.failed) == (1, [])
    assert written(tmp_path / "out") == ["masks/a.png", "overlays/a.png", "probabilities/a.npy"]
    np.testing.assert_array_equal(read_png(tmp_path / "out/masks/a.png"), np.where(image > 128, 255, 0))
    probability = np.load(tmp_path / "out/probabilities/a.npy")
    assert probability.dtype == np.float16
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(10 - image / 12.75)), atol=1e-3)
    assert read_png(tmp_path / "out/overlays/a.png").shape == (*shape, 3)
    (row,) = csv.DictReader((tmp_path / "s.csv").open())
    np.testing.assert_array_equal(decode_rle(row["rle_mask"], *shape), image > 128)


@pytest.mark.parametrize("min_area", [0, 10_000_000])
def test_npy_masks_equal_png_masks(min_area: int, write_image: WriteImage, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.npy", image_of((150, 91)))
    predict(path, OutputOptions(tmp_path / "png"), min_area=min_area)
    predict(path, OutputOptions(tmp_path / "npy", mask_format="npy"), min_area=min_area)
    mask = np.load(tmp_path / "npy/masks/a.npy")
    np.testing.assert_array_equal(mask, read_png(tmp_path / "png/masks/a.png"))
    assert mask.any() == (min_area == 0)


@pytest.mark.parametrize("classes", [1, 3])
def test_palette_masks_are_indices_that_viewers_show_in_colours(
    classes: int, write_image: WriteImage, tmp_path: Path
) -> None:
    image = RNG.choice(np.array([0, 128, 255] if classes > 1 else [0, 255], np.uint8), (70, 50))
    path = write_image(tmp_path / "a.png", image)
    predict(path, OutputOptions(tmp_path, ["masks"], mask_format="palette"), bright(classes=classes))
    written = tmp_path / "masks" / "a.png"
    indices = image // 127 if classes > 1 else image // 255
    pair = Pair("a", FileRef(path), FileRef(written))
    np.testing.assert_array_equal(read_mask(pair, (70, 50), MaskEncoding.of_keys(classes)), indices)
    colour = CLASS_COLOURS[max(classes - 1, 1) - 1][::-1]  # OpenCV's order
    assert (read_png(written)[image == 255] == colour).all()


@pytest.mark.parametrize("size", [40, 150])
@pytest.mark.parametrize("big", ["no", "yes"])
def test_the_mask_of_a_geotiff_lies_where_the_image_lies(size: int, big: str, tmp_path: Path) -> None:
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500_000.5, 5_200_000, 0.25, 0.5)}
    image = image_of((size, size))
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=size, height=size, count=1, dtype="uint8", BIGTIFF=big, **place
    ) as file:
        file.write(image, 1)
    predict(tmp_path / "a.tif", OutputOptions(tmp_path / "out", ["masks"], mask_format="tif"))
    with rasterio.open(tmp_path / "out" / "masks" / "a.tif") as file:
        assert file.crs == place["crs"]
        assert file.transform == place["transform"]
        np.testing.assert_array_equal(file.read(1), 255 * (image > 128))


def test_each_page_of_a_stack_is_predicted_where_asked_for(tmp_path: Path) -> None:
    pages = image_of((3, 20, 30))
    first, *rest = map(Image.fromarray, pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    predict(tmp_path / "a.tif", OutputOptions(tmp_path, ["masks"], stacks=True))
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(read_png(tmp_path / f"masks/a/{number:04}.png"), 255 * (page > 128))


def test_a_tif_mask_of_another_file_has_no_place(write_image: WriteImage, tmp_path: Path) -> None:
    image = image_of((20, 30))
    predict(write_image(tmp_path / "a.png", image), OutputOptions(tmp_path, ["masks"], mask_format="tif"))
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "masks" / "a.tif")), 255 * (image > 128))


def test_masks_below_the_least_area_become_empty(write_image: WriteImage, tmp_path: Path) -> None:
    for count in (4, 5):
        image = np.zeros((20, 20), np.uint8)
        image[3, :count] = 255
        write_image(tmp_path / "in" / f"{count}.png", image)
    predict(tmp_path / "in", OutputOptions(tmp_path, ["masks"], submission=tmp_path / "s.csv"), min_area=5)
    assert [read_png(tmp_path / "masks" / f"{count}.png").any() for count in (4, 5)] == [False, True]
    assert (tmp_path / "s.csv").read_text() == "id,rle_mask\n4,\n5,4 1 24 1 44 1 64 1 84 1\n"


def test_more_classes_are_indices_and_probabilities_of_each(write_image: WriteImage, tmp_path: Path) -> None:
    image = RNG.choice(np.array([0, 128, 255], np.uint8), (70, 50))
    write_image(tmp_path / "a.png", image)
    predict(tmp_path / "a.png", OutputOptions(tmp_path / "out", ["masks", "probabilities"]), bright(classes=3))
    mask = read_png(tmp_path / "out/masks/a.png")
    np.testing.assert_array_equal(mask, image // 127)
    probability = np.load(tmp_path / "out/probabilities/a.npy")
    assert probability.shape == (70, 50, 3)
    np.testing.assert_array_equal(probability.argmax(2), mask)
    with pytest.raises(UserError, match=r"submission=.* can hold one kind of foreground, but the network has 2"):
        predict(tmp_path / "a.png", OutputOptions(tmp_path, submission=tmp_path / "s.csv"), bright(classes=3))


def test_batches_of_mixed_sizes_equal_single_images(write_image: WriteImage, tmp_path: Path) -> None:
    network = UNet(1, 1, [4, 8]).eval()
    ensemble = Ensemble([Predictor(network, Preprocessing(1), tile=64, overlap=16)])
    shapes = [(20, 20)] * 5 + [(33, 20)] * 2 + [(20, 20), (40, 80), (64, 64), (64, 64)]
    images = [image_of(shape) for shape in shapes]
    for i, image in enumerate(images):
        write_image(tmp_path / "in" / f"{i:02}.png", image)
    done = predict(tmp_path / "in", OutputOptions(tmp_path, ["probabilities"], batch_size=3), ensemble)
    assert (done.done, done.failed) == (len(images), [])
    for i, image in enumerate(images):
        probability = np.load(tmp_path / "probabilities" / f"{i:02}.npy")
        np.testing.assert_allclose(probability, ensemble(image).probability, atol=1e-3)


def test_damaged_files_are_named_and_the_others_are_predicted(write_image: WriteImage, tmp_path: Path) -> None:
    good = image_of((20, 20))
    folder = tmp_path / "in"
    for name in ("a.png", "c.npy", "z.png"):
        write_image(folder / name, good)
    (folder / "b.png").write_bytes(b"\x89PNG no more")
    (folder / "d.npy").write_bytes((folder / "c.npy").read_bytes()[:200])
    (folder / "e.sgy").write_bytes(b"no seismic data")
    write_image(folder / "f.npy", np.zeros((100, 100), np.float32) + 0.5)
    write_image(folder / "g.npy", np.zeros((20, 20, 2), np.uint8))
    done = predict(folder, OutputOptions(tmp_path / "out", ["masks"]))
    assert done.done == 3
    assert written(tmp_path / "out") == ["masks/a.png", "masks/c.png", "masks/z.png"]
    faults = ("can't be read as an image", "can't be read as an image", "can't be read as SEG-Y",
              "is float32, but the training images are 8-bit; say", "the image has 2 channels")  # fmt: skip
    assert len(done.failed) == len(faults)
    for line, name, fault in zip(done.failed, "bdefg", faults, strict=True):
        assert str(folder / name) in line
        assert fault in line
        assert line.count(str(folder)) == 1


def test_a_large_image_with_nan_leaves_no_incomplete_file(tmp_path: Path) -> None:
    image = RNG.normal(size=(300, 90))
    image[250, 3] = np.nan
    np.save(tmp_path / "a.npy", image)
    options = OutputOptions(
        tmp_path / "out", ["masks", "probabilities", "overlays"], mask_format="npy", value_range=(-1, 1)
    )
    done = predict(tmp_path / "a.npy", options)
    assert done.failed == [f"{tmp_path / 'a.npy'} holds NaN or infinite values; replace them with numbers"]
    assert written(tmp_path / "out") == []


def test_an_interruption_leaves_no_incomplete_file(tmp_path: Path) -> None:
    class Interrupted(Bright):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().forward(x)

    np.save(tmp_path / "a.npy", image_of((40, 40)))
    np.save(tmp_path / "b.npy", image_of((300, 300)))
    ensemble = Ensemble([Predictor(Interrupted(), Preprocessing(1), tile=64, overlap=16)])
    refs = [FileRef(tmp_path / "b.npy"), FileRef(tmp_path / "a.npy")]
    with pytest.raises(KeyboardInterrupt):
        FilePredictor(ensemble, OutputOptions(tmp_path / "out", mask_format="npy")).run(refs)
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize("value_range", ["auto", (-300.0, 300.0)])
def test_amplitudes_are_scaled_to_the_value_range(
    value_range: str | tuple[float, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    amplitudes = RNG.normal(0, 100, (150, 91)).astype(np.float32)
    np.save(tmp_path / "a.npy", amplitudes)
    predict(tmp_path / "a.npy", OutputOptions(tmp_path, ["probabilities"], value_range=value_range))
    limit = 300.0 if value_range != "auto" else np.quantile(np.abs(amplitudes), 0.99)
    assert (f"a.npy: {-limit:.6g} to {limit:.6g} become 0 to 255" in capsys.readouterr().out) == (value_range == "auto")
    grey = ((amplitudes / limit).clip(-1, 1) + 1) / 2
    np.testing.assert_allclose(np.load(tmp_path / "probabilities/a.npy"), 1 / (1 + np.exp(10 - 20 * grey)), atol=0.02)


def test_a_network_trained_on_floats_needs_no_value_range(tmp_path: Path) -> None:
    amplitudes = RNG.normal(0, 100, (50, 40)).astype(np.float32)
    np.save(tmp_path / "a.npy", amplitudes)
    predict(tmp_path / "a.npy", OutputOptions(tmp_path), bright(value_range=(-400, 400)))
    certain = np.abs(amplitudes) > 2
    np.testing.assert_array_equal((read_png(tmp_path / "masks/a.png") > 0)[certain], (amplitudes > 0)[certain])


def test_value_range_auto_refuses_unsigned_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 20), np.uint16))
    done = predict(tmp_path / "a.npy", OutputOptions(tmp_path, value_range="auto"))
    problem = "is uint16, but value_range=auto is for amplitudes about zero; give value_range=[LOW,HIGH]"
    assert done.failed == [f"{tmp_path / 'a.npy'} {problem}"]


def test_overlays_of_large_images_are_smaller(tmp_path: Path) -> None:
    image = np.repeat(np.arange(9000, dtype=np.uint16)[:, None] % 251, 5, 1).astype(np.uint8)
    result = OverlayPng(tmp_path / "a.png", image, lambda pixels: pixels)
    for _ in range(9):
        result.append(torch.zeros(1, 1000, 5), np.zeros((1000, 5), np.uint8))
    result.finish()
    np.testing.assert_array_equal(read_png(tmp_path / "a.png")[..., 0], image[::3, ::3])


def test_results_keep_the_subfolders_of_a_pattern(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "y/deep/b.png"):
        write_image(tmp_path / "in" / name, image_of((20, 20)))
    done = predict(tmp_path / "in" / "**" / "*.png", OutputOptions(tmp_path / "out", ["masks"]))
    assert done.done == 3
    assert written(tmp_path / "out/masks") == ["x/a.png", "y/a.png", "y/deep/b.png"]


def test_a_zip_with_a_broken_member(write_image: WriteImage, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", image_of((20, 20)))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("images/a.png", path.read_bytes())
        archive.writestr("images/b.png", path.read_bytes()[:50])
        archive.writestr("images/c.sgy", b"")
    done = predict(tmp_path / "in.zip", OutputOptions(tmp_path / "out", ["masks"]))
    assert written(tmp_path / "out") == ["masks/a.png"]
    assert "in.zip/images/b.png can't be read" in done.failed[0]
    assert "in.zip/images/c.sgy is in a zip" in done.failed[1]


@pytest.mark.skipif(not (DATA / "tgs-salt").exists(), reason="needs tgs-salt in UNETKIT_DATA")
def test_a_submission_for_kaggle(tmp_path: Path) -> None:
    refs = find_images(DATA / "tgs-salt" / "test.zip")
    assert len(refs) == 800
    predictor = FilePredictor(bright(), OutputOptions(tmp_path, ["masks"], submission=tmp_path / "s.csv"))
    predictor.run(refs[:20][::-1])
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    sample = list(csv.DictReader((DATA / "tgs-salt" / "sample_submission.csv").open()))
    assert list(rows[0]) == list(sample[0])
    assert [row["id"] for row in rows] == [row["id"] for row in sample[:20]]
    for row in rows:
        mask = decode_rle(row["rle_mask"], 101, 101)
        np.testing.assert_array_equal(mask * 255, read_png(tmp_path / "masks" / f"{row['id']}.png"))


def volume(path: Path, shape: tuple[int, int, int], sample_format: int = 1) -> Array:
    """Write a volume and return its amplitudes (inlines, crosslines, samples)."""
    cube = RNG.choice(np.array([-1000, 1000], np.float32), shape)
    stored = cube.astype(np.int16) if sample_format == 3 else cube
    segyio.tools.from_array3D(str(path), stored, format=sample_format, dt=2000)
    with segyio.open(path, "r+") as file:
        file.text[0] = segyio.tools.create_text_header({1: "A SURVEY"})
        for i in range(file.tracecount):
            file.header[i].update({segyio.TraceField.CDP_X: 500_000 + i})
    return cube


@pytest.mark.parametrize("sample_format", [1, 5, 3], ids=["ibm", "ieee", "int16"])
def test_the_mask_of_a_volume_has_its_geometry(sample_format: int, tmp_path: Path) -> None:
    cube = volume(tmp_path / "cube.sgy", (3, 20, 130), sample_format)
    before = (tmp_path / "cube.sgy").read_bytes()
    done = predict(tmp_path / "cube.sgy", OutputOptions(tmp_path / "out", value_range="auto"))
    assert (done.done, done.failed) == (1, [])
    assert (tmp_path / "cube.sgy").read_bytes() == before
    names = ["masks/cube.sgy", "overlays/cube/0001.png", "overlays/cube/0002.png", "overlays/cube/0003.png"]
    assert written(tmp_path / "out") == names
    assert read_png(tmp_path / "out/overlays/cube/0002.png").shape == (130, 20, 3)
    with segyio.open(tmp_path / "cube.sgy") as source, segyio.open(tmp_path / "out/masks/cube.sgy") as mask:
        np.testing.assert_array_equal(segyio.tools.cube(mask), cube > 0)
        assert mask.text[0] == source.text[0]
        assert dict(mask.bin) == dict(source.bin)
        assert all(dict(a) == dict(b) for a, b in zip(mask.header[:], source.header[:], strict=True))
        assert mask.ilines.tolist() == source.ilines.tolist()
        assert mask.samples.tolist() == source.samples.tolist()


def test_the_probabilities_of_a_line(tmp_path: Path) -> None:
    line = RNG.normal(0, 1000, (90, 150)).astype(np.float32)
    segyio.tools.from_array2D(str(tmp_path / "line.segy"), line, format=5)
    options = OutputOptions(tmp_path / "out", ["masks", "probabilities", "overlays"], value_range=(-2000, 2000))
    done = predict(tmp_path / "line.segy", options)
    assert (done.done, done.failed) == (1, [])
    assert written(tmp_path / "out") == ["masks/line.segy", "overlays/line.png", "probabilities/line.segy"]
    with segyio.open(tmp_path / "out/probabilities/line.segy", ignore_geometry=True) as file:
        grey = ((line / 2000).clip(-1, 1) + 1) / 2
        np.testing.assert_allclose(file.trace.raw[:], 1 / (1 + np.exp(10 - 20 * grey)), atol=0.011)


def test_a_segy_file_of_whole_numbers_holds_no_probabilities(tmp_path: Path) -> None:
    volume(tmp_path / "cube.sgy", (2, 5, 30), sample_format=3)
    done = predict(tmp_path / "cube.sgy", OutputOptions(tmp_path / "out", ["probabilities"], value_range="auto"))
    assert "cube.sgy stores whole numbers and can't hold probabilities" in done.failed[0]
    assert written(tmp_path / "out") == []


def test_seismic_data_without_a_range_is_refused_in_one_line(tmp_path: Path) -> None:
    volume(tmp_path / "cube.sgy", (2, 5, 30))
    done = predict(tmp_path / "cube.sgy", OutputOptions(tmp_path / "out"))
    assert done.failed == [
        f"{tmp_path / 'cube.sgy'} is float32, but the training images are 8-bit; say which values become 0 and 255 "
        "with value_range=[LOW,HIGH], or value_range=auto for amplitudes about zero"
    ]
    with pytest.raises(UserError, match=r"submission=s\.csv is made of images"):
        predict(tmp_path / "cube.sgy", OutputOptions(tmp_path, submission=Path("s.csv")))


def test_small_masks_of_sections_become_empty(tmp_path: Path) -> None:
    cube = np.full((2, 20, 30), -1000, np.float32)
    cube[1, 5, :10] = 1000
    segyio.tools.from_array3D(str(tmp_path / "cube.sgy"), cube)
    for min_area, kept in ((10, 10), (11, 0)):
        options = OutputOptions(tmp_path / "out", ["masks"], value_range=(-1000, 1000))
        predict(tmp_path / "cube.sgy", options, min_area=min_area)
        with segyio.open(tmp_path / "out/masks/cube.sgy") as mask:
            assert segyio.tools.cube(mask).sum() == kept


def test_results_stay_within_the_output_folder() -> None:
    assert result_names([FileRef(Path("a/b/c.png"))]) == [PurePosixPath("c")]
    refs = [FileRef(Path("x.zip"), "p/a.png"), FileRef(Path("x.zip"), "p/q/a.tar.png")]
    assert result_names(refs) == [PurePosixPath("a"), PurePosixPath("q/a.tar")]
    harmful = [FileRef(Path("x.zip"), name) for name in ("../../a.png", "/etc/b.png", "c/d.png")]
    assert result_names(harmful) == [PurePosixPath("a"), PurePosixPath("etc/b"), PurePosixPath("c/d")]
    drives = [
        FileRef(Path("x.zip"), name) for name in ("C:/a.png", "C:b.png", "\\\\host\\c.png", "..\\..\\d.png", "e:f.png")
    ]
    assert [str(name) for name in result_names(drives)] == ["C/a", "C/b", "host/c", "d", "e/f"]
    assert result_names([FileRef(Path("a:b\\c.png"))]) == [PurePosixPath("a:b\\c")]  # letters of a file on Linux


@pytest.mark.parametrize("name", ["C:/a.png", "C:..\\a.png", "/a.png", "../../a.png", "//h/s/a.png"])
def test_a_strange_member_of_a_zip_is_predicted_into_the_output(name: str, tmp_path: Path) -> None:
    png = cv2.imencode(".png", RNG.integers(0, 255, (9, 9), np.uint8))[1].tobytes()
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(name, png)
    options = OutputOptions(tmp_path / "x" / "y" / "out", ["masks"])
    predict(tmp_path / "in.zip", options)
    written = list(tmp_path.rglob("*.png"))
    assert len(written) == 1
    assert written[0].resolve().is_relative_to(tmp_path / "x" / "y" / "out")


def test_links_duplicates_and_hidden_names_in_a_zip_give_no_mask(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    png = cv2.imencode(".png", RNG.integers(0, 255, (9, 9), np.uint8))[1].tobytes()
    archives: list[tuple[str | zipfile.ZipInfo, ...]]
    archives = [(link,), ("a.png", "a.png"), ("a\0.png",), ("..\\..\\a.png",)]
    for index, names in enumerate(archives):
        with zipfile.ZipFile(tmp_path / f"{index}.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"/etc/passwd" if name is link else png)
        with suppress(UserError):
            predict(tmp_path / f"{index}.zip", OutputOptions(tmp_path / "out", ["masks"]))
    assert not list(tmp_path.rglob("*.png"))


def test_nothing_is_written_where_a_network_predicts_nan(tmp_path: Path, write_image: WriteImage) -> None:
    for name, side in (("a", 20), ("b", 20), ("c", 90), ("d", 30)):  # two in one batch, one in tiles
        write_image(tmp_path / "in" / f"{name}.png", RNG.integers(0, 255, (side, side), np.uint8))
    ensemble = bright()
    ensemble.members[0].network.levels.data.fill_(torch.nan)  # type: ignore[operator]
    predictor = predict(tmp_path / "in", OutputOptions(tmp_path / "out", ["masks"]), ensemble)
    assert written(tmp_path) == ["in/a.png", "in/b.png", "in/c.png", "in/d.png"]
    assert predictor.done == 0
    assert len(predictor.failed) == 4
    assert all("the network predicts values that are not numbers (NaN); its training" in f for f in predictor.failed)


def test_the_size_and_the_time_of_a_large_image_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "wide.npy", np.full((700, 900), 200, np.uint8))
    predictor = predict(tmp_path / "wide.npy", OutputOptions(tmp_path / "out", ["masks"]))
    assert predictor.done == 1
    out, err = capfd.readouterr()
    tiles = bright().tiles(700, 900)
    assert tiles > 100
    assert f"wide.npy: 900 x 700 pixels, {tiles} tiles" in out + err
    assert f"0/{tiles} [00:00<?, ?tile/s]" in err  # the bar, which estimates the time
