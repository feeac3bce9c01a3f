"""Jobs of a cluster: whether a scheduler has started this one again, and a run directory that it finds again."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

# What schedulers set in a job that they start again: the variable, and its value in the first attempt (often unset).
FIRST_ATTEMPT = {
    "SLURM_RESTART_COUNT": "0",
    "TORCHELASTIC_RESTART_COUNT": "0",  # torchrun
    "AWS_BATCH_JOB_ATTEMPT": "1",
    "LSB_RESTART": "",  # LSF sets Y
}
INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which people type commands; as Lightning has it


def restart_sign(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the variable, with its value, by which a scheduler says that this is a job's second or later start."""
    for name, first in FIRST_ATTEMPT.items():
        if environment.get(name, first) not in (first, ""):
            return f"{name}={environment[name]}"
    return None


def job_directory(typed: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the run directory of a command in a SLURM job: the same one if the job is started again.

    Args:
        typed: What was typed; other commands of the same job have other directories.
        environment: Environment variables.

    Returns:
        `runs/slurm-JOB/DIGEST`, or None outside a job, and where the directory is that of the same command, done
        earlier in this job.
    """
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    if job is None or environment.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    task = environment.get("SLURM_ARRAY_TASK_ID")
    folder = Path("runs") / f"slurm-{job}{f'_{task}' if task else ''}" / digest_of(typed)
    counts = ("SLURM_NTASKS", "WORLD_SIZE")  # of tasks, and of the processes of torchrun
    is_alone = all(environment.get(name, "1") == "1" for name in counts)  # else another one may have made it just now
    return None if is_alone and restart_sign(environment) is None and folder.exists() else folder


def digest_of(typed: Sequence[str]) -> str:
    """Return a name for a command, the same one each time that it is typed."""
    return hashlib.sha256("\0".join(sorted(typed)).encode()).hexdigest()[:8]
