"""The images and masks that `data.images` and `data.masks` name, as folders or patterns."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from unetkit.data.files import SUFFIXES
from unetkit.data.layout.item import Item
from unetkit.data.layout.roles import placed
from unetkit.data.layout.tree import Entry, list_entries
from unetkit.errors import UserError
from unetkit.paths import expanded

WILD = re.compile(r"\*\*/|\*+|\?|\[[^]]+\]")


@dataclass(frozen=True)
class Named:
    """A file that a pattern matches.

    Attributes:
        entry: The file.
        texts: What the wildcards of the pattern stand for in its path.
    """

    entry: Entry
    texts: tuple[str, ...]


def named_files(
    key: str,
    values: Sequence[str],
    root: Path | None,
    entries: Sequence[Entry],
    kinds: tuple[str, ...] = SUFFIXES,
) -> list[Named]:
    """Return the files that `data.images=` or `data.masks=` names.

    Args:
        key: The key, for errors.
        values: A folder, of which all files are taken, or a pattern; below the root, or else as a path of its own.
            Several where each names a channel; their wildcards then agree.
        root: The root of the data set, or None.
        entries: The files below the root.
        kinds: Suffixes of the files that are read.

    Raises:
        UserError: If no image file is named so, or an image lacks a channel.
    """
    first, *others = (_named_by(key, str(value), root, entries, kinds) for value in values)
    if not others:
        return first
    by_texts = [{named.texts: named.entry.ref for named in files} for files in others]
    joined = []
    for named in first:
        for value, files in zip(values[1:], by_texts, strict=True):
            if named.texts not in files:
                fix = "what * and ** stand for must be equal in all of them, as in [*_t1.nii.gz,*_t2.nii.gz]"
                raise UserError(f"{key}={value}", f"names no channel for {named.entry.path}", fix)
        ref = replace(named.entry.ref, channels=tuple(files[named.texts] for files in by_texts))
        joined.append(replace(named, entry=replace(named.entry, ref=ref)))
    return joined


def _named_by(key: str, value: str, root: Path | None, entries: Sequence[Entry], kinds: tuple[str, ...]) -> list[Named]:
    """Return the files that one folder or pattern names."""
    found = _matching(value, entries)
    if not found:
        path = expanded(value)
        base = path if path.exists() and not path.is_file() else _fixed_part(path)
        if base.exists():
            rest = path.relative_to(base).as_posix() if path != base else "**/*"
            found = _matching(rest, list_entries(base, kinds))
    if not found:
        where = f" below {root} or here" if root else ""
        raise UserError(f"{key}={value}", f"names no image{where}", 'give a folder, or a pattern such as "**/*_t1.png"')
    return found


def items_of(images: Sequence[Named] | None, masks: Sequence[Named] | None) -> tuple[list[Item], list[Item]]:
    """Return the named files as items; what wildcards stand for is their name where both patterns have as many."""
    images, masks = images or [], masks or []
    numbers = {len(named.texts) for named in (*images, *masks)}
    if not images or not masks or len(numbers) > 1 or numbers == {0}:
        return [_item(named) for named in images], [_item(named) for named in masks]
    by_texts = [[_item(named, named.texts) for named in files] for files in (images, masks)]
    if {(item.folder.group, item.name) for item in by_texts[0]} & {
        (item.folder.group, item.name) for item in by_texts[1]
    }:
        return by_texts[0], by_texts[1]
    return [_item(named) for named in images], [_item(named) for named in masks]


def _item(named: Named, texts: tuple[str, ...] | None = None) -> Item:
    item, _ = placed(named.entry)
    if texts is None:
        return item
    *folders, name = texts
    group = tuple(part for text in folders for part in text.strip("/").split("/") if part)
    return replace(item.in_folder(group=group), name=name.removesuffix(PurePosixPath(item.ref.name).suffix))


def _matching(pattern: str, entries: Sequence[Entry]) -> list[Named]:
    """Return the images whose path below the root a pattern matches; a folder matches all that it holds."""
    pattern = pattern.rstrip("/").removeprefix("./")
    for full in (pattern, f"{pattern}/**/*"):
        regex = _regex(full)
        matches = [(entry, regex.fullmatch(entry.path)) for entry in entries if entry.is_image]
        found = [Named(entry, tuple(text or "" for text in match.groups())) for entry, match in matches if match]
        if found:
            return found
    return []


def _regex(pattern: str) -> re.Pattern[str]:
    parts, place = [], 0
    for wild in WILD.finditer(pattern):
        parts.append(re.escape(pattern[place : wild.start()]))
        place = wild.end()
        text = wild[0]
        meaning = {"**/": "((?:.*/)?)", "?": "([^/])"}.get(text)
        in_brackets = "(" + text.replace("[!", "[^").replace("\\", r"\\") + ")"
        parts.append(meaning or (in_brackets if text[0] == "[" else "(.*)" if "**" in text else "([^/]*)"))
    return re.compile("".join([*parts, re.escape(pattern[place:])]))


def _fixed_part(path: Path) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    fixed = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)
