import os
import subprocess
import sys

import pytest

from unetkit.cli.memory import CHOSEN_BY_USER

PAGES_TOUCHED = """
import resource
from unetkit.cli.memory import keep_freed_memory
if {keeps}:
    keep_freed_memory()
from {library} import ones
for step in range(4):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [ones({count}) for _ in range(3)]  # of {count} floats, more than the 32 MB that glibc keeps by itself
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_touched(keeps: bool, library: str, **environment: str) -> int:
    """Return how many pages the system cleared for three steps that take the same memory as the first."""
    count = 20_000_000 if library == "torch" else 5_000_000
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(CHOSEN_BY_USER)}
    inherited["NUMPY_MADVISE_HUGEPAGE"] = "0"  # with which NumPy takes huge pages by itself
    code = PAGES_TOUCHED.format(keeps=keeps, library=library, count=count)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
LIBRARIES = ["numpy", pytest.param("torch", marks=pytest.mark.slow)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_step_touches_no_fresh_memory(library: str) -> None:
    assert pages_touched(False, library) > 50_000
    assert pages_touched(True, library) < 1_000


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_choice_in_the_environment_stands(library: str) -> None:
    assert pages_touched(True, library, MALLOC_TRIM_THRESHOLD_="131072") > 50_000
