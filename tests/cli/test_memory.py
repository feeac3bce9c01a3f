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
import torch
for step in range(4):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(20_000_000) for _ in range(3)]  # 80 MB each
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_touched(keeps: bool, **environment: str) -> int:
    """Pages that the system cleared for three steps that take the same memory as the first."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(CHOSEN_BY_USER)}
    done = subprocess.run(
        [sys.executable, "-c", PAGES_TOUCHED.format(keeps=keeps)],
        env=inherited | environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_a_step_touches_no_fresh_memory() -> None:
    assert pages_touched(keeps=False) > 50_000
    assert pages_touched(keeps=True) < 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_a_choice_in_the_environment_stands() -> None:
    assert pages_touched(keeps=True, MALLOC_TRIM_THRESHOLD_="131072") > 50_000
