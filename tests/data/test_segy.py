"""SEG-Y files are cut into sections by their headers, whatever the outline of the survey."""

from pathlib import Path

import numpy as np
import pytest
import segyio

from unetkit.data.segy import SegyFile, check_header_bytes, sections, segy_copy
from unetkit.errors import UserError

CUBE = np.random.default_rng(0).normal(size=(3, 4, 25)).astype(np.float32)


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    segyio.tools.from_array3D(str(tmp_path / "cube.sgy"), CUBE, format=5)
    return tmp_path / "cube.sgy"


def test_sections_are_runs_of_one_inline() -> None:
    lines = np.array([1, 1, 1, 2, 2, 4, 4, 4])
    assert sections(lines, np.arange(8)) == [slice(0, 3), slice(3, 5), slice(5, 8)]
    assert sections(np.arange(8), lines) == [slice(0, 3), slice(3, 5), slice(5, 8)]
    assert sections(np.arange(8), np.arange(8)) == [slice(0, 8)]
    assert sections(np.zeros(8), np.zeros(8)) == [slice(0, 8)]


def test_a_section_reads_with_depth_downwards(cube: Path) -> None:
    file = SegyFile(cube)
    assert (file.traces, file.samples, file.holds_fractions) == (12, 25, True)
    assert len(file.sections) == 3
    for section, inline in zip(file.sections, CUBE, strict=True):
        np.testing.assert_array_equal(file.read(section), inline.T)
    np.testing.assert_array_equal(file.read(slice(None, None, 5)), CUBE.reshape(12, 25)[::5].T)


def test_other_bytes_can_hold_the_numbers(cube: Path) -> None:
    with segyio.open(cube, "r+") as file:
        for i in range(file.tracecount):
            file.header[i].update({segyio.TraceField.INLINE_3D: 0, segyio.TraceField.FieldRecord: 10 + i // 4})
    assert len(SegyFile(cube).sections) == 1
    assert len(SegyFile(cube, inline=9).sections) == 3


@pytest.mark.parametrize(("inline", "crossline"), [(190, 193), (189, "x"), (0, 193)])
def test_bytes_where_no_number_begins_are_refused(inline: int, crossline: int) -> None:
    with pytest.raises(UserError, match=r"segy_bytes\.(in|cross)line=(190|x|0) is not where a number begins"):
        check_header_bytes(inline, crossline)


def test_a_copy_keeps_all_but_what_is_overwritten(cube: Path, tmp_path: Path) -> None:
    with segy_copy(cube, tmp_path / "copy.sgy", (189, 193)) as file:
        file.write(file.sections[1], np.ones((25, 4)))
    with segyio.open(tmp_path / "copy.sgy") as copy:
        np.testing.assert_array_equal(copy.iline[2], 1)
        np.testing.assert_array_equal(copy.iline[1], CUBE[0])


@pytest.mark.parametrize("kept", [0, 20, 3600, -30])
def test_broken_files_are_named(kept: int, cube: Path) -> None:
    cube.write_bytes(cube.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cube\.sgy can't be read as SEG-Y .*; replace or remove it"):
        SegyFile(cube)


def test_amplitudes_that_are_no_numbers_are_refused(cube: Path) -> None:
    with segyio.open(cube, "r+") as file:
        file.trace[1] = np.full(25, np.nan, np.float32)
    with pytest.raises(UserError, match=r"cube\.sgy holds NaN or infinite amplitudes"):
        SegyFile(cube).read(slice(0, 4))
