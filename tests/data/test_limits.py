"""Files that are no images, or announce more than they hold, end in one line, at once, and take no memory."""

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import Unetkit, WriteImage, WritePairs

from unetkit.data import limits, sources
from unetkit.data.decode import open_image, read_image
from unetkit.data.files import FileRef
from unetkit.data.layout.inputs import find_images
from unetkit.data.segy import SegyFile
from unetkit.doctor.layout import find_files
from unetkit.errors import UserError

GREY = np.full((20, 20), 100, np.uint8)
TRAIN = ["data=folder", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=1"]


def npy(header: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a .npy file with this header and 8 bytes of content."""
    text = header.encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + bytes(8)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Let permissions count, also where the tests are run by root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}", "announces float64 of shape"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 3)}", "announces uint8 of shape"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -4)}", "announces uint8 of shape"),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}",
            "announces float64 .* 16 bytes, of which it holds 8",
        ),
        ("{'descr': '<f16', 'fortran_order': False, 'shape': (0, 2)}", "holds float128|holds longdouble|damaged"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}", "can't be read as an image|holds object"),
        ("{'descr': 'nonsense', 'fortran_order': False, 'shape': (1, 1)}", "its header is damaged"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,", "its header is damaged"),
        ("(" * 3000, "its header is damaged"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': ('a', 1)}", "its header is damaged"),
        ("\0\0\0", "its header is damaged"),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (3, 0)])
def test_the_header_of_a_npy_file_is_read_first(
    tmp_path: Path, header: str, said: str, version: tuple[int, int]
) -> None:
    file = tmp_path / "x.npy"
    file.write_bytes(npy(header, version))
    for read in (read_image, open_image):
        with pytest.raises(UserError, match=f"x.npy .*({said})") as error:
            read(FileRef(file))
        assert "\n" not in str(error.value)


def test_long_doubles_are_refused(tmp_path: Path) -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("a long double is a double here")
    np.save(tmp_path / "x.npy", np.ones((4, 4), np.longdouble))
    for read in (read_image, open_image):
        with pytest.raises(UserError, match=r"x\.npy holds .*; save it as float32 or float64"):
            read(FileRef(tmp_path / "x.npy"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes as files")
def test_a_pipe_or_device_is_refused_and_not_waited_for(
    tmp_path: Path, write_pairs: WritePairs, write_image: WriteImage, unetkit: Unetkit
) -> None:
    write_pairs(tmp_path, dict.fromkeys("abcdefgh", GREY), dict.fromkeys("abcdefgh", 255 * (GREY > 0)))
    (tmp_path / "images" / "a.png").unlink()
    os.mkfifo(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match=r"a\.png is a pipe or device; replace or remove it"):
        read_image(FileRef(tmp_path / "images" / "a.png"))
    assert find_images(tmp_path / "images" / "a.png") == [FileRef(tmp_path / "images" / "a.png")]
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "images" / "b.png").symlink_to("/dev/zero")
    (tmp_path / "images" / "c.npy").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"c\.npy is a pipe or device"):
        open_image(FileRef(tmp_path / "images" / "c.npy"))
    (tmp_path / "images" / "c.npy").unlink()
    done = unetkit("train", *TRAIN, f"data.root={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}",
                   f"data.cache_dir={tmp_path / 'cache'}")  # fmt: skip
    assert done.status == 1
    assert "a.png is a pipe or device; replace or remove it" in done.stderr
    (tmp_path / "train.zip").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(UserError, match=r"train\.csv is a pipe or device"):
        sources.tgs_salt_pairs(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes as files")
def test_a_pipe_that_is_called_segy_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.sgy")
    with pytest.raises(UserError, match=r"x\.sgy is a pipe or device"):
        SegyFile(tmp_path / "x.sgy")


def test_a_section_of_segy_counts_as_an_image(tmp_path: Path) -> None:
    segyio = pytest.importorskip("segyio")
    segyio.tools.from_array(str(tmp_path / "x.sgy"), np.zeros((1, 30, 40), np.float32))
    with closing(SegyFile(tmp_path / "x.sgy")) as file:
        assert file.read(slice(0, 30)).shape == (40, 30)
        said = r"x\.sgy has 30 x 40 pixels, more than 1,199 in all"
        with limits.decoding_at_most(1199, "max_pixels"), pytest.raises(UserError, match=said):
            file.read(slice(0, 30))


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("x.png")
    with pytest.raises(UserError, match=r"x\.png can't be read"):
        read_image(FileRef(tmp_path / "x.png"))
    with pytest.raises(UserError, match="does not exist"):
        sources.folder_pairs(tmp_path / "x.png")


def test_a_folder_without_permission_is_one_line(tmp_path: Path, write_pairs: WritePairs) -> None:
    root = write_pairs(tmp_path / "data", {"a": GREY}, {"a": GREY})
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    for closed in (root, root / "images"):
        closed.chmod(0)
        with as_nobody():
            for find in (sources.folder_pairs, sources.tgs_salt_pairs, find_images, find_files):
                with pytest.raises(UserError, match=r"can't be read \(Permission denied\)"):
                    find(root)
        closed.chmod(0o755)


def test_a_picture_that_announces_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, write_image: WriteImage
) -> None:
    # Where width and height are written in each format, as OpenCV writes it.
    for suffix, order in ((".png", ">II"), (".jpg", ">HH"), (".bmp", "<ii")):
        file = write_image(tmp_path / f"x{suffix}", GREY[:7])
        sides = (7, 20) if suffix == ".jpg" else (20, 7)
        content = file.read_bytes()
        assert read_image(FileRef(file)).shape == (7, 20)
        file.write_bytes(content.replace(struct.pack(order, *sides), struct.pack(order, 30_000, 30_000), 1))
        with pytest.raises(UserError, match=f"x{suffix} has 30,000 x 30,000 pixels, more than 536,870,912 in all; cut"):
            read_image(FileRef(file))


def test_the_size_of_a_member_is_known_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.png", bytes(10**6 + 1))
    said = r"a\.png holds 1,000,001 bytes, more than 4 for each pixel of data\.max_pixels=250000; cut it into parts"
    with limits.decoding_at_most(250_000, "data.max_pixels"), pytest.raises(UserError, match=said):
        read_image(FileRef(tmp_path / "x.zip", "images/a.png"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,rle_mask\na,1 2\n".encode("utf-16"), "is not UTF-8 text; save it as CSV in UTF-8"),
        ("id,rle_mask\nä,1 2\n".encode("latin-1"), "is not UTF-8 text"),
        (b"id,rle_mask\na," + b"1 2 " * 50_000, r"can't be read \(field larger than field limit"),
        (b"id,rle_mask\na", r"line 2 is cut short: a has no rle_mask"),
        (b"id,rle_mask\na,1 2\na,3 4\n", "line 3 gives a another mask than an earlier line"),
        (b"", "must have the columns id,rle_mask"),
        (None, "is a folder"),
    ],
)
def test_a_csv_of_run_lengths_that_is_odd_is_named(
    tmp_path: Path, write_pairs: WritePairs, content: bytes | None, said: str
) -> None:
    write_pairs(tmp_path, {"a": GREY}, {})
    if content is None:
        (tmp_path / "train.csv").mkdir()
    else:
        (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"train.csv.* {said}"):
        sources.tgs_salt_pairs(tmp_path)
