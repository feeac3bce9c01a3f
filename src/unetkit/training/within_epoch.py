"""The part of a run's state that counts within an epoch: position, random numbers, running means."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric
from torch import Tensor

KEY = "within_epoch"  # in checkpoints

State = dict[str, Any]


def is_before_validation(trainer: L.Trainer) -> bool:
    """Return whether a validation has begun, and has seen no batch."""
    return trainer.validating and not trainer.fit_loop.epoch_loop.val_loop._has_run


def batches_done(trainer: L.Trainer) -> int | None:
    """Return how many batches of the epoch are done.

    Returns:
        None before the first one, and after the last one once that is validated.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    done = progress.current.processed  # type: ignore[attr-defined]
    if is_before_validation(trainer):
        return int(done)
    return None if progress.is_last_batch or done >= trainer.num_training_batches else done or None


def save_position(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Add the state to a checkpoint that is saved within an epoch; every process must call this.

    An epoch that Lightning has ended early, as at `max_steps`, is stored as one that is still to be ended.
    """
    if batches_done(trainer) is None:
        return
    loop = trainer.fit_loop.epoch_loop
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    is_ended = progress["current"]["processed"] > progress["current"]["completed"]
    if is_ended:
        for part in progress.values():
            part["processed"] -= 1
    is_validation_next = is_before_validation(trainer)
    if is_validation_next:  # so that Lightning goes on with it: as if its first batch had begun
        counted = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
        counted["ready"], counted["started"] = counted["ready"] + 1, counted["started"] + 1
    ours = {"random": random_state(trainer.strategy.root_device), "means": running_means(trainer)}
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by Trainer.fit
    checkpoint[KEY] = {
        "batch_size": data.serving.batch_size,
        "epoch": data.epoch,
        # Lightning counts the batch's step after it has called the hooks in which checkpoints are saved; after a
        # validation, it will do so again by itself.
        "logged_steps": loop._batches_that_stepped + (not is_ended and not is_validation_next),
        "is_validation_next": is_validation_next,
        "plateau": {} if is_ended else _plateau_scores(trainer),
        "is_at_batch_end": loop.batch_progress.current.completed < loop.batch_progress.current.processed,  # type: ignore[attr-defined]
        "processes": _of_all_processes(trainer, ours),
    }


def restore_plateau(trainer: L.Trainer, state: State) -> None:
    """Step a plateau schedule that counts steps, when training starts.

    Lightning does so after it has called the hooks of a batch; after those of a validation, it does so again by itself,
    and needs the score.
    """
    trainer._logger_connector._callback_metrics.update(state["plateau"])
    for config in trainer.lr_scheduler_configs:
        if state["is_at_batch_end"] and config.reduce_on_plateau and config.monitor in state["plateau"]:
            config.scheduler.step(state["plateau"][config.monitor])
            for part in ("total", "current"):
                counted = getattr(trainer.fit_loop.epoch_loop.scheduler_progress, part)
                counted.ready, counted.completed = counted.ready + 1, counted.completed + 1


def restore_random_state(trainer: L.Trainer, state: State) -> None:
    """Set the random numbers, and the step at which loggers log; called before the next batch, or validation."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = state["logged_steps"]
    random = state["processes"][trainer.global_rank]["random"]
    torch.set_rng_state(random["cpu"])
    device = trainer.strategy.root_device
    if device.type in random and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(random[device.type])


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's random numbers on the CPU and on the device that trains, by the device's type."""
    state = {"cpu": torch.get_rng_state()}
    if device.type in ("cuda", "mps"):
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def _plateau_scores(trainer: L.Trainer) -> dict[str, Tensor]:
    """Return the scores that plateau schedules are given after this batch, by name."""
    batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    due = (c for c in trainer.lr_scheduler_configs if c.interval == "step" and batch % c.frequency == 0)
    names = {c.monitor for c in due if c.reduce_on_plateau}
    return {name: score for name, score in trainer.callback_metrics.items() if name in names}


def running_means(trainer: L.Trainer) -> dict[str, list[Tensor]]:
    """Return sum and weight of each value that is logged as its mean over the epoch's training batches, by name."""
    return {
        name: [metric.value.detach().cpu(), metric.cumulated_batch_size.detach().cpu()]
        for name, metric in trainer.fit_loop.epoch_loop._results.items()
        if _is_running_mean(metric)
    }


def restore_means(trainer: L.Trainer, state: State) -> None:
    """Add the sums from before the interruption; called after the first batch, whose values are there by then."""
    results = trainer.fit_loop.epoch_loop._results
    for name, (value, weight) in state["processes"][trainer.global_rank]["means"].items():
        if name in results:
            metric = results[name]
            metric.value = value.to(metric.value.device) + metric.value
            metric.cumulated_batch_size = weight.to(metric.cumulated_batch_size.device) + metric.cumulated_batch_size


def restore_before_validation(trainer: L.Trainer, state: State, begin_means: Callable[[], None]) -> None:
    """Restore all, and take back what made Lightning go on with the validation; called when training starts.

    Args:
        trainer: The trainer.
        state: The state.
        begin_means: Logs the values whose means are restored, with a weight of 0.
    """
    counted: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    counted.ready, counted.started = counted.ready - 1, counted.started - 1
    restore_random_state(trainer, state)
    begin_means()
    restore_means(trainer, state)
    trainer._logger_connector._first_loop_iter = False  # so that no later batch of the epoch resets the means


def _is_running_mean(metric: _ResultMetric) -> bool:
    is_mean = metric.is_tensor and metric.meta.on_epoch and metric.meta.is_mean_reduction
    return is_mean and not metric.has_reset


def _of_all_processes(trainer: L.Trainer, ours: State) -> list[State]:
    if trainer.world_size == 1:
        return [ours]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, ours)
    return everyone
