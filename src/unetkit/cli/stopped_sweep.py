"""Stop the program of a sweep and its jobs in order, where the jobs run in other processes."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from unetkit.paths import short_path

STOPS = (signal.SIGINT, signal.SIGTERM)
WATCH = 1.0  # seconds between two looks at the program of the sweep
PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux's prctl
OTHER_PROCESSES = ("joblib", "submitit_local")  # launchers whose jobs run in processes that this one has started


def launcher_of(hydra: Any) -> str:
    """Return the name of the launcher that was chosen."""
    return str(hydra.runtime.choices.get("hydra/launcher"))


def end_with_sweep(launcher: str) -> None:
    """Let this job save and stop in order when the program of the sweep ends before it (Linux only)."""
    if sys.platform != "linux":
        return
    if launcher == "joblib":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)
    else:  # between the two is a process of submitit, which goes on
        threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def watch(parent: int) -> None:
    """Send this process a SIGTERM when the parent of its parent has ended."""

    def grandparent() -> str:
        return Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]

    sweep = grandparent()
    while grandparent() == sweep:
        time.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGTERM)


def leave_jobs_to_stop(folder: Path) -> None:
    """End this program at once at Ctrl+C and SIGTERM; its jobs then save and stop, where joblib would kill them."""

    def end(number: int, _: object) -> None:
        os.write(2, f"stopped; {how_to_go_on(folder)}\n".encode())
        os._exit(1 if number == signal.SIGINT else 128 + number)

    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        for number in STOPS:
            signal.signal(number, end)


def how_to_go_on(folder: Path) -> str:
    """Return what to do about a sweep that was interrupted."""
    return f"the sweep in {short_path(folder)} is not done: type the same command to go on with it"
