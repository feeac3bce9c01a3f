"""The import rule: what lies left never imports what lies right."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "unetkit"
LAYERS = (
    ("errors",),
    ("command_line", "configuration", "allocation"),
    ("models", "losses", "metrics", "schedules", "pictures", "curves", "data"),
    ("tiling",),
    ("module", "inference", "loggers", "results", "drawing", "doctor"),
    ("callbacks", "checkpoint", "prediction", "export"),
    ("records", "importing", "resuming", "slim", "demo"),
    ("evaluation",),
    ("report",),
    ("training",),
    ("cross_validation",),
)
LIGHTNING = {"configuration", "data/datamodule", "module", "loggers", "callbacks", "records", "training"}
HYDRA = {"command_line", "configuration", "training", "records", "resuming", "evaluation/images", "cross_validation"}
FILES = sorted(SOURCE.rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Full names that a file imports, at its top or within functions, except for type checkers."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "unetkit" else {node.module}
            )
    return names


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_left_never_imports_right(file: Path) -> None:
    part = name_of(file).split("/")[0]
    if part == "__init__":
        return  # the package's face, which gives `load`
    level = next(i for i, layer in enumerate(LAYERS) if part in layer)
    allowed = {name for layer in LAYERS[:level] for name in layer} | {part}
    parts = {name.split(".")[1] for name in imported(file) if name.startswith("unetkit.")}
    assert parts <= allowed


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_frameworks_stay_where_they_belong(file: Path) -> None:
    tops = {name.split(".")[0] for name in imported(file)}
    assert "lightning" not in tops or name_of(file) in LIGHTNING
    assert not tops & {"hydra", "omegaconf"} or name_of(file) in HYDRA
    assert "albumentations" not in tops or name_of(file) == "data/augment"


def test_every_part_has_its_layer() -> None:
    assert {name_of(f).split("/")[0] for f in FILES} - {"__init__"} == {part for layer in LAYERS for part in layer}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_text_is_utf8_where_the_system_s_encoding_is_another(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            is_text = node.func.attr in ("read_text", "write_text") or (
                node.func.attr == "open" and ast.unparse(node.func.value) in ("path", "file", "part")
            )
            if is_text and not any("b" in mode for mode in modes):
                assert "encoding" in {keyword.arg for keyword in node.keywords}, ast.unparse(node)
