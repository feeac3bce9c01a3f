"""The import contracts of pyproject.toml, and text files that are read and written as UTF-8."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "unetkit"
FILES = sorted(SOURCE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").as_posix()


def test_import_contracts_are_kept() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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
