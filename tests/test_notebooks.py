"""The notebooks run from top to bottom, and are kept without outputs."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_five_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@EACH
def test_what_it_imports_of_unetkit_exists(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    imports = re.findall(r"^from unetkit\S* import (?:\([^)]*\)|.*)", code, flags=re.MULTILINE)
    assert imports
    for statement in ast.parse("\n".join(imports)).body:
        assert isinstance(statement, ast.ImportFrom)
        module = importlib.import_module(str(statement.module))
        for alias in statement.names:
            assert hasattr(module, alias.name), ast.unparse(statement)


@pytest.mark.slow
@EACH
def test_it_runs(path: Path, tmp_path: Path) -> None:
    code = (
        "import sys, nbformat; from nbclient import NotebookClient; "
        "notebook = nbformat.read(sys.argv[1], 4); NotebookClient(notebook, timeout=300).execute(); "
        "nbformat.write(notebook, 'executed.ipynb')"
    )
    environment = os.environ | {"UNETKIT_CACHE": str(tmp_path / "cache"), "UNETKIT_DATA": str(tmp_path)}
    done = subprocess.run(  # runs/ of the notebook lies where it is started
        [sys.executable, "-c", code, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = json.loads((tmp_path / "executed.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    shown = "".join(line for output in outputs for line in output.get("text", []))
    assert "Warning" not in shown, shown
    assert "Traceback" not in shown, shown
    assert any("image/png" in output.get("data", {}) for output in outputs)


@EACH
def test_it_is_kept_without_outputs_and_with_steady_names(path: Path) -> None:
    notebook = json.loads(path.read_text())
    for number, cell in enumerate(notebook["cells"]):
        assert cell["id"] == f"{path.name[:2]}-{number:02d}"
        assert not cell.get("outputs"), f"{path.name} has outputs: jupyter nbconvert --clear-output --inplace {path}"
        assert cell.get("execution_count") is None
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
