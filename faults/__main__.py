"""Try faults on unetkit, and print what happens: `python scripts/torture.py --short`.

Each case runs in processes and a folder of its own. A group of cases is written to OUTPUT/NAME.json when it is done;
the table is of all groups that are there. `--only NAME` tries one group again. Exit status 1: something was not as
promised; the cases are listed with what the program said.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from faults import damage, data, demo, hostile, kills, stops
from faults.cases import Case, Lab, Result
from faults.program import Program
from faults.table import Row, rows_of, table

GROUPS: dict[str, Callable[[int], Iterator[Case]]] = {
    "kills": kills.cases,
    "stops": stops.cases,
    "damage": damage.cases,
    "data": data.cases,
    "hostile": hostile.cases,
    "demo": demo.cases,
}


def main() -> None:
    """Try what the command line asks for."""
    options = parsed()
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process that is started; with it, sums are equal to the bit
    program = Program(options.fresh)
    print(f"seed {options.seed}: the same moments, bytes and requests again with --seed {options.seed}")
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        for name in options.only or GROUPS:
            cases = [case for case in GROUPS[name](options.seed) if case.is_short or not options.short]
            cases = [case for case in cases if options.match in f"{case.fault.name}: {case.name}"]
            results = try_all(name, cases, Path(folder), program, options.jobs)
            content = [row._asdict() for row in rows_of(cases, results)]
            (options.output / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    files = [file for name in GROUPS if (file := options.output / f"{name}.json").exists()]
    rows = [Row(**row) for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    print(table(rows))
    sys.exit(any(row.failures for row in rows))


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few cases of each group, for CI")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="NAME", help=f"groups, of {', '.join(GROUPS)}")
    parser.add_argument("--match", default="", help="only cases whose fault or name has this text")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at once")
    parser.add_argument("--fresh", action="store_true", help="start Python anew for each command; adds 4 s to each")
    parser.add_argument("--output", type=Path, default=Path("torture"), help="folder of NAME.json")
    return parser.parse_args()


def try_all(group: str, cases: Sequence[Case], folder: Path, program: Program, jobs: int) -> list[Result]:
    """Try cases side by side, and show those that are not as promised."""
    with ThreadPoolExecutor(jobs) as pool:
        places = [folder / f"{group}-{number}" for number in range(len(cases))]
        tried = pool.map(partial(attempt, program), places, cases)
        results = []
        for case, result in zip(cases, tqdm(tried, group, len(cases), mininterval=5), strict=True):
            results.append(result)
            if not result.is_good:
                tqdm.write(f"{case.fault.name}, {case.name}: {result.what}: {result.said}")
    return results


def attempt(program: Program, place: Path, case: Case) -> Result:
    """Try a case in a folder of its own, which is removed afterwards."""
    place.mkdir()
    try:
        return case.attempt(Lab(place, program))
    except Exception as error:  # the other cases are still to be tried
        return Result(False, "the try itself failed", f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
