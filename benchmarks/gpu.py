"""What `scripts/gpu.sh` runs: each part in a process of its own with a limit of time, until the minutes are over.

Every answer is written as soon as it is found, to `NAME.json` in the folder of answers, and into the tables of
`results.md` there. A second call leaves out the parts that are answered.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu_page import fill_page, tables
from benchmarks.gpu_parts import Part, parts

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "lightning", "hydra", "omegaconf", "albumentations", "cv2", "torchmetrics", "matplotlib", "tqdm")
RESERVE = 15  # seconds that are kept for stopping a part and writing the tables


def main() -> int:
    """Run the parts that are not answered yet; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="bash scripts/gpu.sh", description=__doc__)
    parser.add_argument("data", type=Path, help="TGS Salt: the folder with train.zip or train/, and train.csv")
    parser.add_argument("clone", nargs="?", help="a clone of milesial/Pytorch-UNet; without it, its rows are left out")
    parser.add_argument("minutes", nargs="?", type=float, default=10, help="when to stop; 10 by default")
    parser.add_argument("--isbi", type=Path, help="ISBI 2012: train.zip, or the folder with it or images/ and masks/")
    parser.add_argument("--device", choices=["cuda", "cpu"], default=os.environ.get("DEVICE", "cuda"))
    parser.add_argument("--output", type=Path, help="folder of the answers; results/gpu by default")
    given = parser.parse_args()
    if given.clone and not Path(given.clone).exists() and given.clone.replace(".", "", 1).isdigit():
        given.clone, given.minutes = None, float(given.clone)
    deadline = time.monotonic() + 60 * given.minutes
    output = given.output or (ROOT / "results" / "gpu" if given.device == "cuda" else ROOT / "benchmark" / "gpu-cpu")
    clone = Path(given.clone).absolute() if given.clone else None
    isbi = membranes_in(given.isbi)
    if problem := what_is_missing(given.data, clone, given.device, isbi):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a part does not outlive this process
    output.mkdir(parents=True, exist_ok=True)
    output = output.absolute()
    return run(parts(given.data.absolute(), clone, given.device, output, isbi), output, deadline)


def membranes_in(given: Path | None) -> Path | None:
    """Return where the labelled slices of ISBI 2012 are; None if they are not asked for."""
    if given is None:
        return None
    return (given / "train.zip" if (given / "train.zip").exists() else given).absolute()


def what_is_missing(data: Path, clone: Path | None, device: str, isbi: Path | None = None) -> str | None:
    """Say in one line why nothing can be measured; None if all that is needed is there."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return f'{sys.executable} lacks {", ".join(missing)}: pip install -e ".[dev,peers]", or put them on PYTHONPATH'
    if not (data / "train.csv").exists() and not (data / "train.zip").exists():
        return f"{data} holds neither train.csv nor train.zip of TGS Salt"
    if clone is not None and not (clone / "unet").is_dir():
        return f"{clone} is no clone of milesial/Pytorch-UNet: leave it out, or write '' for it"
    if isbi is not None and not (isbi.is_file() or (isbi / "masks").is_dir()):
        return f"--isbi {isbi} holds neither train.zip nor images/ and masks/"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device; --device cpu tries the script with tiny settings"
    return None


def run(todo: list[Part], output: Path, deadline: float) -> int:
    """Run parts until the deadline: those that were never tried first, then those that failed before."""
    todo = [part for part in todo if not (output / part.left).exists()]
    todo.sort(key=lambda part: (output / f"{part.name}.failed").exists())
    has_failed = False
    for number, part in enumerate(todo, start=1):
        seconds = deadline - time.monotonic() - RESERVE
        if seconds < part.least:
            print(f"{len(todo) - number + 1} parts are left, from {part.name} on: type the same again", flush=True)
            break
        print(f"[{seconds / 60:4.1f} min left] {part.name}", flush=True)
        said = run_part(part, output, min(part.limit, seconds))
        has_failed |= (output / f"{part.name}.failed").exists()
        print(f"    {said or 'done'}", flush=True)
        write_tables(output)
    print(f"answers: {output}; tables: {output / 'results.md'}", flush=True)
    return int(has_failed)


def run_part(part: Part, output: Path, limit: float) -> str:
    """Run a part, with its output in `NAME.log`; return why it has no answer, or nothing.

    A part that fails, or takes longer than it may, leaves the reason in `NAME.failed`; one that is stopped because the
    minutes are over leaves nothing, and is the first of the next call.
    """
    log, failure = output / f"{part.name}.log", output / f"{part.name}.failed"
    command = [sys.executable, "-m", *part.arguments]
    if part.name == "tests":
        command += [f"--junitxml={output / 'tests.part'}"]
    said = run_process(command, log, limit)
    if part.name == "tests" and not said:
        (output / "tests.part").replace(output / part.left)
    if (output / part.left).exists():  # it may have been stopped just after its answer
        failure.unlink(missing_ok=True)
        return ""
    if said.startswith("stopped") and limit < part.limit:
        return "stopped, as the time is over"
    said = said or f"failed: it left no {part.left}"
    failure.write_text(f"{said}\n", encoding="utf-8")
    return said


def run_process(command: list[str], log: Path, limit: float) -> str:
    """Run a command for at most `limit` seconds; return what went wrong, or nothing."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        finally:
            stop(process)
    if status == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"status {status}"]
    return f"failed: {lines[-1]} (see {log.name})"


def stop(process: subprocess.Popen[bytes], grace: float = 6) -> None:
    """End a process and those that it has started, first with SIGTERM, so that a training keeps its checkpoint."""
    for signal_sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_sent)
        except ProcessLookupError:
            break
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue


def write_tables(output: Path) -> None:
    """Write `results.md`, and into docs/performance.md if these are the answers of results/gpu."""
    (output / "results.md").write_text(tables(output), encoding="utf-8")
    if output == ROOT / "results" / "gpu":
        fill_page(ROOT / "docs" / "performance.md", output)


if __name__ == "__main__":
    sys.exit(main())
