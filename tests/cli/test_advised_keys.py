"""No message says to type a key, a choice or an extra that is not there: the strings of the source are read."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Messages = list[tuple[str, str, bool]]
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "unetkit"
TYPED = re.compile(r"(?<![\w.\"'{}-])([a-z_]+(?:\.\w+)*)=(?!=)([\w.]*)")
SHOWING = re.compile(r"UserError|check|log\.\w+|say|print|command_line|warnings\.append|Finding|tqdm\.write")
PARTS_OF_MESSAGES = {"fix", "problem", "advice", "again", "NO_EXTRA", "LESS_MEMORY", "OTHER_PLACE"}
# Arguments of functions, named in errors for those who program; `s.` is of `%s.class_weights`.
NO_KEYS = {"smooth", "smoothing", "patch_size", "final", "warmup", "power", "interval"}
NO_KEYS |= {"s", "s.class_weights", "s.pos_weight", "install"}


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """The module that reads the keys of conf/ for the site."""
    spec = importlib.util.spec_from_file_location("generate_configuration", ROOT / "docs" / "generate_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its data classes look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def messages() -> Messages:
    """File and text of each string, and whether it is of an error."""
    return list(read_messages())


def read_messages() -> Iterator[tuple[str, str, bool]]:
    """Read strings that are shown to people; {} stands for what is put in."""
    for file in sorted(SOURCE.rglob("*.py")):
        name, tree = file.relative_to(SOURCE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node, is_error in shown_in(tree):
            if id(node) in parts:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield name, node.value, is_error
            elif isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield name, text, is_error


def shown_in(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """What errors and logs are given, and what is called a part of a message; and whether it is of an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and SHOWING.fullmatch(called := ast.unparse(node.func)):
            yield from ((part, called == "UserError") for part in ast.walk(node))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in PARTS_OF_MESSAGES:
            yield from ((part, False) for part in ast.walk(node.value))


def keys_of(command: str, files: dict[str, Any], reference: ModuleType) -> set[str]:
    """Each key that a command knows, with the groups and what is above a key."""
    main = files[command]
    groups = {group for group, _ in main.choices} | {parent.partition("/")[0] for parent, _ in main.parents}
    if "train" in groups:
        groups |= {group for group, _ in files["train"].choices}
    parts = [main, *(file for path, file in files.items() if path.partition("/")[0] in groups)]
    keys = {reference.full_name(key, file) for file in parts for key in file.keys}
    return keys | groups | {key.rpartition(".")[0] for key in keys}


def test_each_key_that_a_message_names_is_one_of_the_command_that_prints_it(
    reference: ModuleType, messages: Messages
) -> None:
    commands = [path.stem for path in (ROOT / "conf").glob("*.yaml") if path.stem != "script"]
    files = reference.read_all()
    known = {command: keys_of(command, files, reference) for command in commands}
    every = set().union(*known.values())
    found = [(name, match[1], is_error) for name, text, is_error in messages for match in TYPED.finditer(text)]
    assert len(found) > 100
    unknown = []
    for name, key, is_error in found:
        is_of_command = is_error and name.startswith("cli/")  # a line about what is next is of another command
        own = known.get(Path(name).stem, every) if is_of_command else every
        if key not in own | NO_KEYS and not key.startswith("hydra."):
            unknown.append((name, key))
    assert not unknown


def test_each_choice_that_a_message_names_is_a_file_of_its_group(reference: ModuleType, messages: Messages) -> None:
    files = reference.read_all()
    groups = {path.partition("/")[0] for path in files if "/" in path}
    found = {(m[1], m[2]) for _, text, _ in messages for m in TYPED.finditer(text) if m[1] in groups and m[2]}
    assert len(found) > 10
    assert not {choice for choice in found if "/".join(choice) not in files and choice[1] != "s"}


def test_each_extra_that_a_message_names_is_declared(messages: Messages) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    found = {extra for _, text, _ in messages for extra in re.findall(r"unetkit\[(\w+)\]", text)}
    assert len(found) > 7
    assert found <= declared.keys()
