"""One whole step of training as a function over tensors that stay in place, which a GPU replays as one CUDA graph."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from unetkit.data import Batch
from unetkit.data.device_cache import IndexBatch
from unetkit.errors import UserError
from unetkit.training.optimisation import clip_gradients

log = logging.getLogger(__name__)

Losses: TypeAlias = Callable[[Batch], tuple[Tensor, Tensor, Tensor]]
MakeBatch: TypeAlias = Callable[[Any, int | Tensor], Batch]
WARM_UP = 3  # steps before the capture, which allocate what stays: state of the optimiser, workspaces of libraries


@dataclass
class StepParts:
    """What a step is made of; the ordinary way uses the same parts.

    Attributes:
        make_batch: Turns what a loader gave, on the device, and an epoch into an augmented batch.
        losses: Computes of a batch the loss to show, and the one whose gradients are taken; and its valid pixels.
        optimizer: The optimiser.
        clip_value: Largest norm, or size, of the gradient; None for no clipping.
        clip_algorithm: `norm` or `value`; None for `norm`.
        autocast: Makes the context of mixed precision.
        scaler: Scaler of the loss for float16; None for none.
        average: Updates the average of the weights after a step; None if there is none.
    """

    make_batch: MakeBatch
    losses: Losses
    optimizer: Optimizer
    clip_value: float | None = None
    clip_algorithm: str | None = None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    scaler: torch.amp.GradScaler | None = None
    average: Callable[[], None] | None = None


def run_step(parts: StepParts, batch: IndexBatch | Batch, epoch: int | Tensor) -> Tensor:
    """Take one step: augment, compute loss and gradients, clip, step the optimiser, average the weights.

    No operation waits for the device or reads a value from it, provided that the loss, the network and the optimiser
    do not.

    Returns:
        The loss to show, a scalar without a gradient.
    """
    pairs = parts.make_batch(batch, epoch)
    with parts.autocast():
        loss, total, _ = parts.losses(pairs)
    parts.optimizer.zero_grad(set_to_none=True)
    if parts.scaler is None:
        total.backward()  # type: ignore[no-untyped-call]
        clip_gradients(parts.optimizer, parts.clip_value, parts.clip_algorithm)
        parts.optimizer.step()
    else:
        parts.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        parts.scaler.unscale_(parts.optimizer)
        clip_gradients(parts.optimizer, parts.clip_value, parts.clip_algorithm)
        parts.scaler.step(parts.optimizer)
        parts.scaler.update()
    if parts.average is not None:
        parts.average()
    return loss.detach()


class StepGraph:
    """A CUDA graph of the step of one training, or of the steps of several, each on a branch of its own."""

    def __init__(self) -> None:
        self._steps: list[TrainingStep] = []  # those that are captured
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses: list[Tensor] = []
        self._constants: list[Any] = []

    def take(self, steps: "Sequence[TrainingStep]") -> list[Tensor] | None:
        """Take steps that are staged, after capturing them if other ones are captured.

        Returns:
            Their losses, which are scalars; None if they can't be replayed and have to run as they are.

        Raises:
            UserError: If a capture that is required fails.
        """
        if self._steps != [*steps]:
            self._capture([*steps])
        if self._graph is None or self._constants != [step.constants() for step in steps]:
            return None
        self._graph.replay()
        return [loss.clone() for loss in self._losses]

    def _capture(self, steps: "list[TrainingStep]") -> None:
        """Capture the steps, which runs nothing; where that fails, let them go on without."""
        torch.cuda.synchronize()
        self._graph, self._steps = None, steps
        torch.cuda.empty_cache()  # the graph has memory of its own
        graph, first = torch.cuda.CUDAGraph(), steps[0].stream
        # thread_local, since the loader's thread may take pinned memory meanwhile.
        capture = torch.cuda.graph(graph, stream=first, capture_error_mode="thread_local")
        try:
            with capture:
                self._losses = [_branch(step, first) for step in steps]
                for step in steps[1:]:
                    first.wait_stream(step.stream)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            for step in steps:
                step.give_up(error)
        else:
            self._graph, self._constants = graph, [step.constants() for step in steps]


@dataclass(eq=False)
class TrainingStep:
    """Take the steps of a training: on a GPU by replaying a CUDA graph of `run_step`, elsewhere by running it.

    The first steps on a GPU run as they are, on a stream of their own; they are steps of the training like all others.
    Then the step is captured once. A batch of another shape, as the last one of an epoch may be, is not replayed but
    run as it is.

    Attributes:
        parts: What the step is made of.
        captures: Whether to capture and replay.
        is_required: Whether a capture that fails ends the training; else the steps run as they are, with a warning.
    """

    parts: StepParts
    captures: bool
    is_required: bool = False
    graph: StepGraph = field(default_factory=StepGraph, init=False)
    warmed_up: int = field(default=0, init=False)

    def take(self, batch: IndexBatch | Batch, epoch: int) -> Tensor:
        """Take a step on a batch that a loader gave and that is on the device; returns its loss, a scalar."""
        losses = self.graph.take([self]) if self.stage(batch, epoch) else None
        return self.run(batch, epoch) if losses is None else losses[0]

    def stage(self, batch: IndexBatch | Batch, epoch: int) -> bool:
        """Copy what a step needs to where a graph reads it; returns whether a graph can take this step."""
        if not self.captures:
            return False
        if self.warmed_up == 0:
            self._allocate(batch)
        self.epoch.fill_(epoch)
        for rate, group in zip(self.rates, self.parts.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        pairs = list(zip(tensors_of(self.inputs), tensors_of(batch), strict=True))
        if any(there.shape != here.shape for there, here in pairs):
            return False
        for there, here in pairs:
            there.copy_(here, non_blocking=True)
        return self.warmed_up >= WARM_UP

    def _allocate(self, batch: IndexBatch | Batch) -> None:
        device = tensors_of(batch)[0].device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.inputs = map_tensors(batch, torch.clone)
        self.epoch = torch.zeros((), dtype=torch.int64, device=device)
        self.rates = [torch.zeros((), device=device) for _ in self.parts.optimizer.param_groups]

    def run(self, batch: IndexBatch | Batch, epoch: int) -> Tensor:
        """Run a step as it is, after `stage`; on a GPU on the stream of the capture."""
        self.warmed_up += 1
        if not self.captures:
            return run_step(self.parts, batch, epoch)
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream), self.rates_on_device():
            loss = run_step(self.parts, batch, self.epoch)
        current.wait_stream(self.stream)
        return loss

    def give_up(self, error: RuntimeError) -> None:
        """Run the steps as they are from now on, as the capture failed.

        Raises:
            UserError: If the capture is required.
        """
        self.captures = False
        if self.parts.scaler is not None:  # forget the step that was not captured to its end
            self.parts.scaler._per_optimizer_states.clear()
            for name in ("grad_scale", "found_inf"):
                vars(self.parts.optimizer).pop(name, None)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self.is_required:
            raise UserError("trainer.step=graph", f"can't be captured: {reason}", "use trainer.step=auto") from error
        log.warning("trainer.step=auto: the steps run one operation at a time, as they can't be captured: %s", reason)

    @contextmanager
    def rates_on_device(self) -> Iterator[None]:
        """Let the optimiser read its rates from the device; schedules and checkpoints keep numbers."""
        groups = self.parts.optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def constants(self) -> list[dict[str, Any]]:
        """Return what a graph takes from the optimiser as constants, such as momenta that a schedule changes."""
        groups = self.parts.optimizer.param_groups
        return [{key: group[key] for key in group if key not in ("params", "lr")} for group in groups]


def _branch(step: TrainingStep, first: torch.cuda.Stream) -> Tensor:
    """Capture a step on its own stream, which leaves the first one of the graph."""
    if step.stream != first:
        step.stream.wait_stream(first)
    with torch.cuda.stream(step.stream), step.rates_on_device():
        return run_step(step.parts, step.inputs, step.epoch)


def tensors_of(batch: Any) -> list[Tensor]:
    """Return the tensors of a batch, in order."""
    values = batch.values() if isinstance(batch, dict) else batch
    return [value for value in values if isinstance(value, Tensor)]


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch with all its tensors changed."""
    if isinstance(batch, dict):
        return {key: change(value) for key, value in batch.items()}
    return type(batch)(*map(change, batch))
