"""Measure a run: images per second, share of time spent waiting for data, peak memory, wall time."""

import sys
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from unetkit.data.device_cache import indices_of
from unetkit.data.loading_times import LoadingTimes


class RunStats(L.Callback):
    """Measure the speed, memory and wall time of training.

    It must be the last callback, so that it does not count the others' work as waiting for data.

    Attributes:
        images: Training images counted: those of all steps but the first of each epoch.
        seconds: Wall time of these steps, loading of data included.
        waited: The part of `seconds` that lies between two steps: loading, augmentation, transfer to the device.
    """

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.images = 0
        self.seconds = 0.0
        self.waited = 0.0
        self._last: float | None = None
        self._is_on_gpu = False
        self._times = LoadingTimes()

    @property
    def state_key(self) -> str:
        """Key of its state in checkpoints, which is the earlier name of the class."""
        return "RunFigures"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset the peak of memory, which may be of an earlier run of a sweep."""
        self._is_on_gpu = trainer.strategy.root_device.type == "cuda"
        self._times = getattr(getattr(trainer, "datamodule", None), "times", self._times)
        if self._is_on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out the time between two epochs."""
        self._last = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the time since the last step."""
        if self._last is not None:
            self.waited += time.perf_counter() - self._last

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step."""
        now = time.perf_counter()
        if self._last is not None:
            self.images += len(indices_of(batch)) * trainer.world_size
            self.seconds += now - self._last
        self._last = now

    def on_quiet_step(self, trainer: L.Trainer, loss: Tensor, batch: Any, batch_idx: int, waited: float) -> None:
        """Add a step that Lightning does not see, `waited` seconds of which went into loading and transfer."""
        now = time.perf_counter()
        if self._last is not None:
            self.images += len(indices_of(batch))
            self.seconds += now - self._last
            self.waited += waited
        self._last = now

    def state_dict(self) -> dict[str, Any]:
        """Return the wall time so far, for the checkpoint."""
        return {"seconds": self.seconds_of_the_run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add the wall time before the interruption."""
        self.began -= state_dict["seconds"]

    @property
    def seconds_of_the_run(self) -> float:
        """Wall time in seconds, with that before an interruption."""
        return time.perf_counter() - self.began

    @property
    def images_per_second(self) -> float | None:
        """Training images per second; None before an epoch has made two steps."""
        return round(self.images / self.seconds, 2) if self.seconds else None

    @property
    def data_wait(self) -> float | None:
        """Share of the time spent waiting for data, in [0, 1]; None before an epoch has made two steps."""
        return round(self.waited / self.seconds, 4) if self.seconds else None

    @property
    def data_wait_parts(self) -> dict[str, float]:
        """The parts of `data_wait`: decode, augment and transfer; empty before an epoch has made two steps."""
        shares = self._times.shares(self.waited) if self.seconds else {}
        return {part: round(seconds / self.seconds, 4) for part, seconds in shares.items()}

    @property
    def peak_memory_mib(self) -> float | None:
        """Peak of the GPU's allocated tensors, or of the process on a CPU, in MiB; None on Windows without a GPU."""
        if self._is_on_gpu:
            return round(torch.cuda.max_memory_allocated() / 2**20, 1)
        if sys.platform == "win32":
            return None
        import resource  # missing on Windows

        unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
