"""Try odd data sets: train on each, let the doctor look at it, and predict its images."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Lock

from faults.cases import Case, Fault, Lab, Result, judge
from faults.kills import TINY
from faults.odd_layouts import odd_layouts
from faults.odd_names import odd_names, odd_sizes
from faults.odd_sets import OddSet, odd_contents, special_files, write_pairs
from faults.odd_tables import odd_tables
from faults.odd_values import odd_keys, odd_values
from faults.program import MEBIBYTES, SECONDS

LIMITS = f"at most {SECONDS:.0f} s and {MEBIBYTES:,} MiB"
KINDS = {
    "files": "an image or mask is cut, changed, of another kind, or no file",
    "names": "a pair has an odd name",
    "layouts": "folders or zips are odd",
    "tables": "`train.csv` or `split.csv` is cut, contradicts itself, or is no table",
    "values": "odd values in images or masks",
    "sizes": "odd sizes and numbers of channels",
    "keys": "odd values of settings",
}
TRAINED = {kind: Fault(f"odd {kind}, `train`", f"{about}; {LIMITS}") for kind, about in KINDS.items()}
DOCTOR = Fault("odd files, names, sizes and layouts, `doctor`", f"the same sets; {LIMITS}")
PREDICTED = Fault("odd files, names and sizes, `predict`", f"the images of the same sets; {LIMITS}")
QUICK = [*TINY, "trainer.max_epochs=1", "data.batch_size=4"]
CHECKPOINT_LOCK = Lock()
SHORT = 15  # of so many sets, one is in the short version


def typed_for(odd: OddSet, lab: Lab) -> list[str]:
    """Write the set, and return what is typed to train on it."""
    typed = odd.build(lab.folder / "set")
    quick = [word for word in QUICK if not word.startswith(("data.count", "data.size"))]
    group = [] if any(word.startswith("data=") for word in typed) else ["data=folder"]
    root = [] if any(word.startswith("data.root=") for word in typed) else [f"data.root={lab.folder / 'set'}"]
    return [*quick, *group, *root, *typed, f"data.cache_dir={lab.folder / 'cache'}"]


def trained(odd: OddSet, lab: Lab) -> Result:
    """Train on the set."""
    done = lab.program.run(*typed_for(odd, lab), f"hydra.run.dir={lab.folder / 'run'}", cwd=lab.folder)
    return judge(done, odd.must, odd.named, lab.folder / "run" / "summary.json")


def diagnosed(odd: OddSet, lab: Lab) -> Result:
    """Let the doctor look at the set."""
    place = next((word for word in odd.build(lab.folder / "set") if word.startswith("data.root=")), None)
    place = place or f"data.root={lab.folder / 'set'}"
    done = lab.program.run("doctor", place, cwd=lab.folder)
    is_whole = not done.exceeded and "Traceback" not in done.said and done.status in (0, 1)
    if is_whole and (lab.folder / "doctor" / "report.txt").exists():
        return Result(True, "reported")
    return judge(done, "refuse", odd.named)


def predicted(odd: OddSet, lab: Lab) -> Result:
    """Predict the images of the set; those that are good must get their masks."""
    checkpoint = trained_once(lab)
    odd.build(lab.folder / "set")
    place = lab.folder / "set" / "images"
    done = lab.program.run("predict", f"checkpoint={checkpoint}", f"input={place}", "output=out", cwd=lab.folder)
    masks = len(list((lab.folder / "out" / "masks").glob("*")))
    if done.exceeded or "Traceback" in done.said or done.status not in (0, 1):
        return Result(False, done.exceeded or f"stack trace or status {done.status}", done.said[-300:])
    if done.status == 1 and not masks and done.said.startswith("error: "):
        return judge(done, "refuse", odd.named)
    if masks < 5:
        return Result(False, f"only {masks} of 5 good images predicted", done.said[-300:])
    if done.status and not any(name in done.said for name in odd.named):
        return Result(False, "the file is not named", done.said[-300:])
    return Result(True, "left out and named, the others predicted" if done.status else "predicted")


def trained_once(lab: Lab) -> Path:
    """Return the run of a network for the images of these sets, made once."""
    place = lab.folder.parent / "good"
    with CHECKPOINT_LOCK:
        if not place.exists():
            write_pairs(place / "set")
            odd = OddSet("files", "good", "accept", lambda root: [f"data.root={place / 'set'}"], ())
            done = lab.program.run(*typed_for(odd, lab), f"hydra.run.dir={place / 'run'}", cwd=place)
            assert done.status == 0, done.said
    return place / "run"


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases: training on each set, the doctor and predict where they read the same."""
    sources = (odd_contents, special_files, odd_names, odd_layouts, odd_tables, odd_values, odd_sizes, odd_keys)
    sets = [odd for source in sources for odd in source()]
    for number, odd in enumerate(sets):
        is_short = number % SHORT == 0
        yield Case(TRAINED[odd.kind], odd.name, partial(trained, odd), is_short)
        if odd.kind in ("files", "names", "sizes", "layouts"):
            yield Case(DOCTOR, odd.name, partial(diagnosed, odd), is_short and number % 4 == 0)
        if odd.kind in ("files", "names", "sizes") and "masks" not in odd.name:
            yield Case(PREDICTED, odd.name, partial(predicted, odd), is_short and number % 4 == 2)
