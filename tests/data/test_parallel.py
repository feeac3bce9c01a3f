"""A function of many files, computed by threads or processes."""

import multiprocessing
import os
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit.data import parallel
from unetkit.data.files import FileRef, zip_members
from unetkit.data.limits import check_size, decoding_at_most
from unetkit.data.parallel import in_order
from unetkit.errors import UserError


@pytest.fixture(params=["threads", "processes"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where results are computed."""
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    if request.param == "processes":
        if sys.platform != "linux":
            pytest.skip("threads compute all elsewhere")
        monkeypatch.setattr(parallel, "FOR_PROCESSES", 10)
    return str(request.param)


def test_results_come_in_order_with_the_limits_of_the_caller(place: str) -> None:
    def numbered(number: int) -> tuple[int, int, int]:
        with pytest.raises(UserError, match=r"more than 77 in all"):
            check_size(9, 9, 1, "image")
        return number, threading.get_ident(), os.getpid()

    with decoding_at_most(77, "max_pixels"):
        seen = list(in_order(numbered, range(150)))
    assert [number for number, _, _ in seen] == list(range(150))
    assert threading.get_ident() not in {thread for _, thread, _ in seen} or place == "processes"
    assert (os.getpid() in {process for _, _, process in seen}) == (place == "threads")


def test_the_first_error_in_the_order_of_files_is_raised_as_it_is(place: str) -> None:
    def fails(number: int) -> int:
        if number % 10 == 3:
            raise UserError(f"{number}", "is wrong", "mend it")
        return number

    results = in_order(fails, range(50))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^3 is wrong; mend it"):
        next(results)
    del results
    assert not multiprocessing.active_children()


def test_no_random_number_of_the_run_is_taken(place: str) -> None:
    state = torch.get_rng_state()
    list(in_order(abs, range(20)))
    assert torch.equal(torch.get_rng_state(), state)


def test_large_results_which_are_sent_one_by_one_come_in_order(place: str) -> None:
    results = in_order(lambda number: (np.zeros(2**21, np.uint8), number, os.getpid()), range(40))
    assert [number for _, number, _ in results] == list(range(40))


def test_a_zip_that_is_open_is_read_by_several_processes(place: str, tmp_path: Path) -> None:
    contents = [np.random.default_rng(number).bytes(20_000) for number in range(200)]
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number:03}.png", content)
    members = zip_members(tmp_path / "data.zip")  # opens it
    assert list(in_order(FileRef.read, members)) == contents
