"""Keep a second run out of the directory of one that is still going on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from unetkit.errors import UserError, writable
from unetkit.paths import remove_parts

log = logging.getLogger(__name__)

NAME = ".lock"
WAIT = 6.0  # seconds; data workers of a killed run end within 5, and may hold its lock until then


@contextmanager
def only_run_in(run_dir: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold the lock of a run directory, which the system takes back from a process that is killed.

    In a run of several processes, the first one holds it. Parts of files that a killed run left are removed first. A
    directory that is still empty at the end is removed too.

    Args:
        run_dir: The directory; it is created.
        wait: Seconds to wait for a run that has just been killed.

    Raises:
        UserError: If another run holds the lock, or the directory can't be written.
    """
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # set from the launcher's environment variables
        yield
        return
    lock = FileLock(run_dir / NAME)
    with writable("run_dir", run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait)
        except Timeout as error:
            fix = "wait until it ends, or give another place with hydra.run.dir="
            raise UserError(str(run_dir), "is being written by another run", fix) from error
        except NotImplementedError:  # filelock before 4
            log.warning("%s is on a file system without locks: make sure that no other run writes there", run_dir)
    try:
        remove_parts(run_dir)
        yield
    finally:
        lock.release()
        if [file.name for file in run_dir.iterdir()] == [NAME]:
            with suppress(OSError):
                (run_dir / NAME).unlink()
                run_dir.rmdir()
