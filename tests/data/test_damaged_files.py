"""Damaged and hostile image files are refused in one line that names them, before they take time or memory."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit, WritePairs
from PIL import Image
from tiff_files import write_tiff

from unetkit.data.decode import read_image, read_layers
from unetkit.data.files import FileRef
from unetkit.data.limits import decoding_at_most
from unetkit.data.masks import file_values
from unetkit.errors import UserError

resource = pytest.importorskip("resource")  # of Unix
RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 255, (60, 80, 3)).astype(np.uint8), (0, 0), 2)


def encoded(kind: str) -> bytes:
    """Return the picture as a file: a suffix that OpenCV knows, a compression of TIFF, `palette` or `npy`."""
    stream = io.BytesIO()
    if kind.startswith("."):
        return cv2.imencode(kind, PICTURE)[1].tobytes()
    if kind == "npy":
        np.save(stream, PICTURE)
    elif kind == "palette":
        Image.fromarray(PICTURE).quantize(7).save(stream, "PNG")
    else:
        Image.fromarray(PICTURE).save(stream, "TIFF", compression=kind, big_tiff=kind == "packbits")
    return stream.getvalue()


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the file cut, with other bytes in its header or anywhere, or with a large number in a field."""
    damaged, kind = bytearray(content), rng.integers(4)
    end = len(content) if kind == 0 else min(len(content), 200)
    if kind == 3:
        return content[: int(rng.integers(len(content)))]
    if kind == 2:
        place = int(rng.integers(end - 4))
        damaged[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x01\0", b"\0\0\0\0"])
    for place in rng.integers(end, size=3 * (kind < 2)):
        damaged[int(place)] = int(rng.integers(256))
    return bytes(damaged)


@pytest.mark.parametrize(
    "kind",
    [
        *(".png", ".jpg", ".bmp", ".gif", ".jp2", ".ppm", ".webp", "palette", "npy"),
        *("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits", "lzma"),
    ],
)
def test_files_with_random_damage_are_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    content, rng = encoded(kind), np.random.default_rng(1)
    file = tmp_path / ("x.npy" if kind == "npy" else "x.tif" if kind[0] != "." else "x.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(15):
        file.write_bytes(damage(content, rng))
        for read in (read_layers, lambda ref: file_values(ref, False)):
            try:
                read(FileRef(file))
            except UserError as error:
                assert "\n" not in str(error)  # noqa: PT017
                assert str(file) in str(error)  # noqa: PT017
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


def without_middle(content: bytes) -> bytes:
    return content[: len(content) // 2] + content[len(content) // 2 + 150 :]


def with_other_byte(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (".jpg", without_middle),
        (".jpg", lambda content: content[: len(content) // 2] + b"\xff\xd9"),
        (".png", with_other_byte),
        ("palette", with_other_byte),
        ("tiff_deflate", with_other_byte),
        ("tiff_lzw", lambda content: content[:400] + b"\xff" * 40 + content[440:]),
        ("raw", lambda content: content[:-150]),
    ],
)
def test_damage_within_a_file_is_noticed(kind: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file, content = tmp_path / "x.png", encoded(kind)
    file.write_bytes(content)
    read_image(FileRef(file))
    file.write_bytes(change(content))
    for read in (read_image, lambda ref: file_values(ref, False)):
        with pytest.raises(UserError, match=r"x\.png can't be read as an image"):
            read(FileRef(file))


def test_bytes_that_cameras_write_before_the_end_of_a_jpeg_are_no_damage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = encoded(".jpg")
    (tmp_path / "x.jpg").write_bytes(content[:-2] + bytes(4) + content[-2:])
    more = read_image(FileRef(tmp_path / "x.jpg"))
    (tmp_path / "x.jpg").write_bytes(content)
    np.testing.assert_array_equal(more, read_image(FileRef(tmp_path / "x.jpg")))
    (tmp_path / "x.jpg").write_bytes(without_middle(content))
    capfd.readouterr()
    with pytest.raises(UserError, match="it is damaged: Corrupt JPEG data"):
        read_image(FileRef(tmp_path / "x.jpg"))
    assert capfd.readouterr().err == ""  # libjpeg's own line has no name


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_small_file_that_claims_many_pixels_takes_no_memory(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    jpeg = encoded(".jpg").replace(struct.pack(">HH", 60, 80), struct.pack(">HH", 20_000, 20_000), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (png, jpeg):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(UserError, match=r"announces 20,000 x 20,000 pixels, more than [\d,]+ bytes can hold"):
            read_image(FileRef(tmp_path / "x.png"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".gif", ".jp2", ".ppm", "palette", "npy", "raw", "packbits"])
def test_the_limit_holds_for_each_format_and_the_advice_works(kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("x.npy" if kind == "npy" else "x.png")
    file.write_bytes(encoded(kind))
    said = r"x\.\w+ has 80 x 60 pixels, more than 4,799 in all; cut it into tiles, or raise data\.max_pixels=4799"
    with decoding_at_most(4799, "data.max_pixels"), pytest.raises(UserError, match=said):
        read_image(FileRef(file))
    with decoding_at_most(4800, "data.max_pixels"):
        assert read_image(FileRef(file)).shape[:2] == (60, 80)


def test_tiles_and_bands_of_a_tiff_count(tmp_path: Path) -> None:
    tiled = write_tiff(tmp_path / "x.tif", PICTURE[:20, :20], tile=16)
    content = tiled.read_bytes()
    entry = next(e for kind in (3, 4) if (e := struct.pack("<HHII", 322, kind, 1, 16)) in content)
    tiled.write_bytes(content.replace(entry, struct.pack("<HHII", 322, 4, 1, 2**30)))
    with pytest.raises(UserError, match=r"x\.tif has 1,073,741,824 x 32 pixels, more than"):
        read_image(FileRef(tiled))
    write_tiff(tmp_path / "many.tif", np.zeros((40, 40, 40), np.float32), rgb=False)
    with decoding_at_most(1600, "max_pixels"), pytest.raises(UserError, match=r"many\.tif holds 256,000 bytes"):
        read_image(FileRef(tmp_path / "many.tif"))


@pytest.mark.parametrize("limit", [0, -1, 2**30 + 1, "many", None])
def test_a_wrong_limit_is_refused(limit: object) -> None:
    with pytest.raises(UserError, match=r"data\.max_pixels=.* must be a whole number from 1 to 1073741824"):
        decoding_at_most(limit, "data.max_pixels").__enter__()  # type: ignore[arg-type]


def test_training_and_doctor_obey_the_key(tmp_path: Path, unetkit: Unetkit, write_pairs: WritePairs) -> None:
    grey = PICTURE[:20, :20, 0]
    root = write_pairs(tmp_path / "data", dict.fromkeys("abcdef", grey), dict.fromkeys("abcdef", 255 * (grey > 128)))
    train = ["train", "data=folder", f"data.cache_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}"]
    for command in (train, ["doctor", f"output={tmp_path}"]):
        done = unetkit(*command, f"data.root={root}", "data.max_pixels=399")
        assert done.status == 1
        assert "has 20 x 20 pixels, more than 399 in all" in done.stderr + done.stdout
