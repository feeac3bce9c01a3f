"""The processes of one run: the directory that they share, and those that Lightning starts for a job of a sweep."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

from unetkit.paths import new_folder
from unetkit.training.requeue import INTERACTIVE, digest_of, job_directory

PATIENCE = timedelta(minutes=10)  # that a process waits for the first one to name the directory


def is_started_by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether `torchrun` has started this process; Lightning recognises it in the same way."""
    return "TORCHELASTIC_RUN_ID" in environment


def processes_started(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Return the program that has started the processes of this run, and how many; `""` and 1 if none has."""
    if is_started_by_torchrun(environment):
        return "torchrun", int(environment["WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return "srun", int(environment["SLURM_STEP_NUM_TASKS"])
    return "", 1


def shared_directory(typed: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the run directory of a command that a scheduler or `torchrun` has started, perhaps several times.

    Args:
        typed: What was typed.
        environment: Environment variables.

    Returns:
        The directory, the same one in all processes of the run; None where the command chooses one for itself.
    """
    if (folder := job_directory(typed, environment)) is not None or not is_started_by_torchrun(environment):
        return folder
    return _agreed_directory(digest_of(typed), environment)


def _agreed_directory(name: str, environment: Mapping[str, str]) -> Path:
    """Return a new directory that the first process has named in the store of `torchrun`, and that it names once."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # imported here: torch takes seconds

    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    store, key = TCPStore(address, port, is_master=False, timeout=PATIENCE), f"unetkit/{name}"
    if environment["RANK"] == "0" and not store.check([key]):  # it is there if torchrun has started the run again
        now = datetime.now().astimezone()
        store.set(key, str(new_folder(f"runs/{now:%Y-%m-%d}/{now:%H-%M-%S}-torchrun")))
    return Path(store.get(key).decode())


@contextmanager
def processes_of_one_job(folder: Path) -> Iterator[None]:
    """Let Lightning start the other processes of a job of a sweep for this job alone, and forget them after it.

    Lightning starts what was typed again, which is the whole sweep. A second job would count on the processes of the
    first, which have ended.

    Args:
        folder: The job's directory.
    """
    import torch.distributed  # imported here: torch takes seconds

    job: Any = HydraConfig.get()
    program = sys.modules["__main__"]
    typed, spec, environment = sys.argv, program.__spec__, dict(os.environ)
    with read_write(job):
        job.run.dir = str(folder)  # what Lightning adds to the command
    own = [source.path for source in job.runtime.config_sources if source.provider == "command-line"]
    sys.argv = [typed[0], *(f"--config-dir={path}" for path in own), *job.overrides.task]
    program.__spec__ = find_spec("unetkit.cli.train")
    try:
        yield
    finally:
        sys.argv, program.__spec__ = typed, spec
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in {*os.environ} - {*environment}:
            del os.environ[name]
