"""Data sets whose folders or archives are odd."""

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.odd_sets import OddSet, write_pairs


def without(*paths: str) -> Callable[[Path], list[str]]:
    """Return a builder of good pairs, of which some files or folders are removed."""

    def build(root: Path) -> list[str]:
        write_pairs(root)
        for path in paths:
            for found in root.glob(path):
                shutil.rmtree(found) if found.is_dir() else found.unlink()
        return []

    return build


def parts(**counts: int) -> Callable[[Path], list[str]]:
    """Return a builder of good pairs in `train/`, `val/` and `test/`, so many in each."""

    def build(root: Path) -> list[str]:
        for part, count in counts.items():
            write_pairs(root / part, count)
        return []

    return build


def few(count: int) -> Callable[[Path], list[str]]:
    """Return a builder of so many pairs."""

    def build(root: Path) -> list[str]:
        write_pairs(root, count)
        return []

    return build


def file_as_root(root: Path) -> list[str]:
    """Write a text file in place of the folder."""
    root.write_text("images/ masks/")
    return []


def pipe_as_root(root: Path) -> list[str]:
    """Make a pipe in place of the folder."""
    os.mkfifo(root)
    return []


def missing_root(root: Path) -> list[str]:
    """Write nothing."""
    return []


def empty_root(root: Path) -> list[str]:
    """Make an empty folder."""
    root.mkdir()
    return []


def links_in_a_circle(root: Path) -> list[str]:
    """Write good pairs, and a link in `images/` that leads back to the root."""
    write_pairs(root)
    (root / "images" / "again").symlink_to(root)
    (root / "train").symlink_to("train")
    return []


def looped_images(root: Path) -> list[str]:
    """Write good pairs, of which the folder of images is a link to itself."""
    write_pairs(root)
    shutil.rmtree(root / "images")
    (root / "images").symlink_to("images")
    return []


def files_instead_of_folders(root: Path) -> list[str]:
    """Write files called `images` and `masks`."""
    root.mkdir()
    for name in ("images", "masks"):
        (root / name).write_text("x")
    return []


def zipped(root: Path, rename: Callable[[str], str] = str) -> list[str]:
    """Write good pairs to a zip, under other names."""
    write_pairs(root.with_name("loose"))
    with zipfile.ZipFile(root.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.with_name("loose").rglob("*.png")):
            archive.writestr(rename(str(file.relative_to(root.with_name("loose")))), file.read_bytes())
    return [f"data.root={root.with_suffix('.zip')}"]


def as_zip(change: Callable[[bytes], bytes]) -> Callable[[Path], list[str]]:
    """Return a builder of a zip of good pairs whose bytes are changed."""

    def build(root: Path) -> list[str]:
        typed = zipped(root)
        file = root.with_suffix(".zip")
        file.write_bytes(change(file.read_bytes()))
        return typed

    return build


def added_to_zip(name: str, content: bytes) -> Callable[[Path], list[str]]:
    """Return a builder of a zip of good pairs with another member."""

    def build(root: Path) -> list[str]:
        typed = zipped(root)
        with zipfile.ZipFile(root.with_suffix(".zip"), "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return typed

    return build


def encrypted(content: bytes) -> bytes:
    """Set the flag of encryption in each header of a zip."""
    changed = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            changed[start + place] |= 1
    return bytes(changed)


def announcing_more(content: bytes) -> bytes:
    """State 6 GiB as the size of each member of a zip."""
    changed = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            changed[start + place : start + place + 4] = struct.pack("<I", 0xFFFF0000)
    return bytes(changed)


def with_changed_byte(content: bytes) -> bytes:
    """Change a byte of the first member of a zip."""
    place = content.index(b"PK\x03\x04") + 60
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


def zip_of_nothing(root: Path) -> list[str]:
    """Write a zip without members."""
    zipfile.ZipFile(root.with_suffix(".zip"), "w").close()
    return [f"data.root={root.with_suffix('.zip')}"]


def zip_in_zip() -> bytes:
    """Return a zip that holds 20 MB of zeros."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/p9.png", bytes(20_000_000))
    return stream.getvalue()


NAMED = ("data.root", "data.split", "/set", "images", "masks")
LAYOUTS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "no folder": ("refuse", missing_root),
    "empty folder": ("refuse", empty_root),
    "text file instead of a folder": ("refuse", file_as_root),
    "pipe instead of a folder": ("refuse", pipe_as_root),
    "no images/": ("refuse", without("images")),
    "no masks/": ("refuse", without("masks")),
    "empty images/": ("refuse", without("images/*")),
    "empty masks/": ("refuse", without("masks/*")),
    "both folders empty": ("refuse", without("images/*", "masks/*")),
    "files called images and masks": ("refuse", files_instead_of_folders),
    "one image too many": ("refuse", without("masks/p0.png")),
    "one mask too many": ("refuse", without("images/p0.png")),
    "one pair": ("refuse", few(1)),
    "two pairs": ("accept", few(2)),
    "train/ only": ("accept", parts(train=4)),
    "train/ and val/": ("accept", parts(train=3, val=2)),
    "train/, val/ and test/": ("accept", parts(train=3, val=2, test=1)),
    "val/ only": ("refuse", parts(val=3)),
    "test/ only": ("refuse", parts(test=3)),
    "training/ and validation/": ("accept", parts(training=3, validation=2)),
    "train/ and an empty val/": ("refuse", parts(train=3, val=0)),
    "links in a circle": ("either", links_in_a_circle),
    "images/ a link to itself": ("refuse", looped_images),
    "zip": ("accept", zipped),
    "zip in a folder": ("accept", lambda root: zipped(root, lambda name: f"my data/{name}")),
    "zip with drive letters": ("either", lambda root: zipped(root, lambda name: f"C:\\{name}")),
    "zip with backslashes": ("either", lambda root: zipped(root, lambda name: name.replace("/", "\\"))),
    "zip that leads out with ..": ("either", lambda root: zipped(root, lambda name: f"../../{name}")),
    "zip of absolute paths": ("either", lambda root: zipped(root, lambda name: f"/{name}")),
    "zip cut in half": ("refuse", as_zip(lambda content: content[: len(content) // 2])),
    "zip with a changed byte": ("refuse", as_zip(with_changed_byte)),
    "zip with a password": ("refuse", as_zip(encrypted)),
    "zip that announces 4 GiB for each member": ("either", as_zip(announcing_more)),
    "zip without members": ("refuse", zip_of_nothing),
    "zip with an image too many": ("refuse", added_to_zip("images/p9.png", b"")),
    "zip with another zip in it": ("accept", added_to_zip("more.zip", zip_in_zip())),
    "zip with a folder as an image": ("either", added_to_zip("images/p9.png/", b"")),
    "zip with the files of macOS": ("accept", added_to_zip("__MACOSX/images/._p1.png", b"x")),
}


def odd_layouts() -> Iterator[OddSet]:
    """Yield sets whose folders or archives are odd."""
    for name, (must, build) in LAYOUTS.items():
        yield OddSet("layouts", name, must, build, NAMED)
