"""Write the reference of all configuration keys from the YAML files of conf/ and their comments.

MkDocs loads this file as a hook (see mkdocs.yml): a page that holds `<!-- groups -->` or `<!-- keys: predict -->` gets
the generated tables in that place. `python docs/generate_configuration.py` prints the reference of all groups.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CONF = Path(__file__).parent.parent / "conf"
PARENT = re.compile(r"^(?:override\s+)?/?([^@]+?)(?:@(.+))?$")  # `base`, `/data`, `bce@terms.bce`


@dataclass(frozen=True)
class Key:
    """One key of a configuration file: its dotted name below the file's package, default and comment."""

    name: str
    default: str
    comment: str


@dataclass(frozen=True)
class File:
    """One YAML file of conf/.

    Attributes:
        path: Path without the suffix, relative to conf/, such as `data/folder`.
        comment: Comment lines at the head of the file, in one line.
        package: Where its keys stand in the whole configuration, such as `data`; empty for the root.
        parents: Entries of its defaults list, with the place that they are put at below this file (or "").
        choices: Group and choice of each entry of the defaults list that selects a group.
        target: The Python object that the file builds, or "".
        keys: Keys that the file itself sets.
    """

    path: str
    comment: str
    package: str
    parents: tuple[tuple[str, str], ...]
    choices: tuple[tuple[str, str], ...]
    target: str
    keys: tuple[Key, ...]


def read_file(path: Path, conf: Path = CONF) -> File:
    """Read one configuration file with its comments."""
    name = path.relative_to(conf).with_suffix("").as_posix()
    group, _, _ = name.rpartition("/")
    text = path.read_text(encoding="utf-8")
    head = [line[1:].strip() for line in leading_comments(text)]
    directives = [line for line in head if line.startswith("@package")]
    package = group.replace("/", ".") if not directives else directives[0].split()[1].replace("_global_", "")
    content = yaml.safe_load(text) or {}
    parents, choices = read_defaults(content.get("defaults", []), group)
    keys = [key for key in read_keys(text) if not key.name.startswith(("defaults", "hydra."))]
    target = next((key.default for key in keys if key.name == "_target_"), "")
    return File(
        name,
        " ".join(line for line in head if line not in directives),
        package,
        tuple(parents),
        tuple(choices),
        target,
        tuple(key for key in keys if key.name != "_target_" and not key.name.endswith("_partial_")),
    )


def leading_comments(text: str) -> list[str]:
    """Return the comment lines before the first other line."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:end]


def read_defaults(entries: list[object], group: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Split a defaults list into files that this one builds on, and choices that it makes of other groups."""
    parents, choices = [], []
    for entry in entries:
        if isinstance(entry, dict):
            ((name, choice),) = entry.items()
            other = str(name).removeprefix("override ").strip("/").partition("@")[0]
            if not other.startswith("hydra/"):
                choices.append((other, str(choice)))
        elif entry != "_self_":
            found = PARENT.match(str(entry))
            assert found  # the pattern takes any text
            parent = found[1] if str(entry).startswith("/") or not group else f"{group}/{found[1]}"
            parents.append((parent, found[2] or ""))
    return parents, choices


def read_keys(text: str) -> Iterator[Key]:
    """Yield each leaf key of a YAML text, with its value as written and the comment behind it or above it."""
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from keys_below(root, text.splitlines(), "", "")


def keys_below(mapping: yaml.MappingNode, lines: list[str], before: str, inherited: str) -> Iterator[Key]:
    """Yield the leaf keys of a mapping; the comment of a block goes to its first key, unless that has one."""
    for position, (name, value) in enumerate(mapping.value):
        block = inherited if position == 0 else ""
        line = name.start_mark.line
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
        end = name.end_mark.column + 1 if is_block else value.end_mark.column
        last = line if is_block else value.end_mark.line
        behind = lines[last][end:].strip() if last < len(lines) else ""
        comment = behind.lstrip("# ") if behind.startswith("#") else comment_above(lines, line)
        if is_block:
            yield from keys_below(value, lines, f"{before}{name.value}.", comment or block)
        else:
            written = lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
            yield Key(f"{before}{name.value}", written or "null", comment or block)


def comment_above(lines: list[str], line: int) -> str:
    """Return the comment lines directly above a key; none at the head of the file, where they describe the file."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip("# "))
    return " ".join(found) if line > 0 else ""


def read_all(conf: Path = CONF) -> dict[str, File]:
    """Read every file of conf/; the keys are paths without the suffix."""
    return {file.path: file for file in (read_file(path, conf) for path in sorted(conf.rglob("*.yaml")))}


def described(key: Key, file: File, files: dict[str, File]) -> str:
    """Return the comment of a key, or that of the same key in a file that this one builds on, or else in its group."""
    if key.comment:
        return key.comment
    for parent, place in file.parents:
        name = key.name.removeprefix(f"{place}.") if place else key.name
        own = next((other for other in files[parent].keys if other.name == name), Key(name, "", ""))
        if comment := described(own, files[parent], files):
            return comment
    if file.package or "/" not in file.path:
        return ""
    full = full_name(key, file)
    of_groups = [f for f in files.values() if f.path == "train" or ("/" in f.path and f.package)]
    return next((o.comment for other in of_groups for o in other.keys if o.comment and full_name(o, other) == full), "")


def full_name(key: Key, file: File) -> str:
    """Return the key as it is typed."""
    return f"{file.package}.{key.name}" if file.package else key.name


def table(file: File, files: dict[str, File]) -> str:
    """Return the keys that a file sets as a Markdown table; empty if it sets none."""
    if not file.keys:
        return ""
    rows = [
        f"| `{full_name(key, file)}` | `{cell(key.default)}` | {cell(described(key, file, files))} |"
        for key in file.keys
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def choice(file: File, files: dict[str, File]) -> str:
    """Describe one choice of a group: what it is, what it builds on, and its keys."""
    group, _, name = file.path.rpartition("/")
    lines = [f"#### `{group}={name}` {{ #{anchor(file.path)} }}", cell(file.comment)]
    if file.target:
        lines.append(f"Builds `{file.target}`.")
    based = [f"[`{parent.rpartition('/')[2]}`](#{anchor(parent)})" for parent, place in file.parents if not place]
    if based:
        lines.append(f"All keys of {', '.join(based)}, with these changes:" if file.keys else f"As {', '.join(based)}.")
    nested = [
        f"- `{file.package}.{place}`: the keys of [`{parent.rpartition('/')[2]}`](#{anchor(parent)})"
        for parent, place in file.parents
        if place
    ]
    lines.append("\n".join(nested))
    changed = [f"`{other}={value}`" for other, value in file.choices]
    if changed:
        lines.append(f"Chooses {', '.join(changed)}.")
    return "\n\n".join([*filter(None, lines), table(file, files)]).rstrip()


def anchor(path: str) -> str:
    """Return the anchor of a file's section."""
    return path.replace("/", "-").replace("_", "-")


def overview(members: list[File], default: str) -> str:
    """Return all choices of a group with their first sentence, as a Markdown table."""
    rows = []
    for file in members:
        name = file.path.rpartition("/")[2]
        mark = " (default)" if name == default else ""
        rows.append(f"| [`{name}`](#{anchor(file.path)}){mark} | {cell(file.comment)} |")
    return "\n".join(["| choice | what it is |", "|---|---|", *rows])


def groups(files: dict[str, File]) -> str:
    """Return the reference of train.yaml: its own keys, then each group with all choices and their keys."""
    train = files["train"]
    defaults = dict(train.choices)
    names = sorted({file.path.rpartition("/")[0] for file in files.values()} - {""})
    order = sorted(names, key=lambda name: (list(defaults).index(name) if name in defaults else 99, name))
    sections = ["## Keys of train.yaml", table(train, files)]
    for group in order:
        members = [file for file in files.values() if file.path.rpartition("/")[0] == group]
        sections += [f"## `{group}`", overview(members, defaults.get(group, "")), *(choice(f, files) for f in members)]
    return "\n\n".join(sections)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the generated tables in the place of their markers (an event of MkDocs)."""
    files = read_all()
    markdown = markdown.replace("<!-- groups -->", groups(files))
    return re.sub(r"<!-- keys: (\w+) -->", lambda found: table(files[found[1]], files), markdown)


if __name__ == "__main__":
    sys.stdout.write(groups(read_all()) + "\n")
