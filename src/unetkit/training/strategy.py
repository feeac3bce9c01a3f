"""Strategies of Lightning for several processes: which are refused, and what those that share weights need."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from omegaconf import DictConfig

from unetkit.checkpoints.checkpoint import Checkpoint, build_network
from unetkit.errors import UserError
from unetkit.training.run_state import last_checkpoint
from unetkit.training.several_processes import processes_started

if TYPE_CHECKING:
    from unetkit.training.module import SegmentationModule


def check_strategy(cfg: DictConfig, *, is_cpu: bool) -> None:
    """Check that the device and the other keys go with the strategy.

    Args:
        cfg: The whole configuration.
        is_cpu: Whether the run trains on the CPU.

    Raises:
        UserError: If they do not.
    """
    is_sharded = "fsdp" in str(cfg.trainer.strategy).lower()
    if is_sharded and (is_cpu or not torch.cuda.is_available()):
        raise UserError("trainer.strategy=fsdp", "needs CUDA GPUs", "use trainer=ddp_cpu, or trainer=cpu")
    if is_cpu and cfg.trainer.sync_batchnorm:
        fix = "use trainer.sync_batchnorm=false, with model.norm=group for the same result on any number of processes"
        raise UserError("trainer.sync_batchnorm=true", "needs GPUs", fix)
    has_average = "_target_" in (cfg.callbacks.get("ema") or {})
    if is_sharded and (has_average or cfg.deep_supervision):
        other = "callbacks=ema" if has_average else f"deep_supervision={cfg.deep_supervision}"
        raise UserError(other, "is not possible with trainer.strategy=fsdp", "leave it out, or use trainer=ddp")


def check_processes(trainer: L.Trainer, strategy: object) -> None:
    """Check that the processes of the trainer are those that were started, and that this one trains itself.

    Args:
        trainer: The trainer.
        strategy: The value of `trainer.strategy`.

    Raises:
        UserError: If copies of this process would train, whose network and scores are lost when they end; or if
            `torchrun` or `srun` has started another number of processes.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        name = strategy if isinstance(strategy, str) else type(trainer.strategy).__name__
        fix = "use trainer.strategy=ddp, or in a notebook trainer.devices=1"
        raise UserError(f"trainer.strategy={name}", "trains in copies of this process, whose results are lost", fix)
    program, started = processes_started()
    nodes = trainer.num_nodes
    if program and started != trainer.num_devices * nodes:
        wanted = f"trainer.devices={trainer.num_devices}" + f" trainer.num_nodes={nodes}" * (nodes > 1)
        fix = f"use trainer=ddp (or ddp_cpu) with trainer.devices={started // nodes or 1}, or start as many"
        raise UserError(wanted, f"does not fit the {started} processes that {program} has started", fix)


def clip_sharded(strategy: Strategy, value: float | None, algorithm: str | None) -> bool:
    """Clip the norm of gradients of which each process has a part; return whether it was such a strategy and norm."""
    if not isinstance(strategy, FSDPStrategy) or not value or algorithm == "value":
        return False
    strategy.model.clip_grad_norm_(value)  # type: ignore[union-attr,operator]
    return True


def load_whole_weights(model: dict[str, Any], trainer: L.Trainer, module: "SegmentationModule", run_dir: Path) -> None:
    """Give the module a network with all weights, from the last checkpoint, where each process has a part of them.

    Args:
        model: The configuration of the network.
        trainer: The trainer.
        module: The module that was trained or scored.
        run_dir: Folder of the run.
    """
    last = last_checkpoint(run_dir)
    if isinstance(trainer.strategy, FSDPStrategy) and last.exists():
        checkpoint = Checkpoint.read(last)
        module.network = build_network(model, checkpoint.subject)
        checkpoint.load_weights_into(module.network, model)
