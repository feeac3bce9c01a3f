"""Measurements, a subcommand for each question: `python scripts/benchmark.py step --milesial DIR`.

Contenders run in turn in paired rounds, so that a slow moment strikes all alike; medians and ratios are shown. Each
question prints a table and writes it, with the rounds and the machine, to `benchmark/QUESTION.json`.
"""

import argparse
import csv
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import albumentations as A
import cv2
import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from unetkit.allocation import HUGE_PAGES, keep_freed_memory
from unetkit.checkpoint import find_device
from unetkit.configuration import choose_precision, library_mistakes
from unetkit.data import DeviceAugmentation, Preprocessing, folder_pairs, tgs_salt_pairs
from unetkit.data.files import FileRef, read_image
from unetkit.data.synthetic import write as write_synthetic
from unetkit.errors import UserError, mistakes_in_one_line
from unetkit.inference import Ensemble, Predictor
from unetkit.models import activation_bytes, centre_crop, classify, fold_norms, mirror_pad, probabilities
from unetkit.module import parameter_groups
from unetkit.prediction import FilePredictor, Wanted
from unetkit.training import train

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
REFERENCE = "unet_milesial"
SIDE, BATCH = 128, 2  # of the images that `networks` times a network on
WARM_UP = 5  # steps until an allocator has found its places
RECREATION_SCORE = 0.549  # Kaggle's, of U_net_recreation's small network on the whole 101x101 frame
PEERS = ("segmentation_models_pytorch", "monai.networks.nets", "monai.inferers")

Row = dict[str, Any]
Answer = tuple[list[Row], list[str]]  # the table, and what is to be said below it


def main() -> None:
    """Answer the question that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    questions = parser.add_subparsers(required=True, dest="question", metavar="QUESTION")

    def ask(answer: Callable[..., Answer], about: str, rounds: int) -> argparse.ArgumentParser:
        name = answer.__name__
        question = questions.add_parser(name, help=about, description=about)
        question.set_defaults(run=answer)
        question.add_argument("--rounds", type=int, default=rounds, help="paired rounds; the median is shown")
        question.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
        question.add_argument("--device", default="cpu", help="auto, cpu or cuda")
        question.add_argument("--output", type=Path, default=Path("benchmark") / f"{name}.json")
        return question

    question = ask(step, "images/s and peak memory of a training step, against peers", 5)
    question.add_argument("--sizes", type=int, nargs="+", default=[128, 512], help="sides of the images, in pixels")
    question.add_argument("--small-batch", type=int, default=32, help="images of 128x128 for networks under 1 M")
    question.add_argument("--large-batch", type=int, default=8, help="for larger ones; as many pixels at other sizes")
    question.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    question.add_argument("--milesial", type=Path, help="a clone of milesial/Pytorch-UNet")

    question = ask(epoch, "seconds of a whole epoch of train.py, against milesial's train.py", 1)
    question.add_argument("--data", type=Path, help="TGS Salt as downloaded, or images/ and masks/; default: synthetic")
    about = "of them; milesial's loop evaluates five times an epoch or more, so of few images that is most of its time"
    question.add_argument("--images", type=int, default=320, help=about)
    question.add_argument("--epochs", type=int, default=3, help="of which the first is not counted")
    question.add_argument("--batch", type=int, default=8, help="images in a batch; milesial's own default is 1")
    question.add_argument("--ours", nargs="*", default=["model=unet_milesial"], help="overrides of train.py")
    question.add_argument("--milesial", type=Path, help="a clone of milesial/Pytorch-UNet")

    question = ask(memory, "what each setting of gradient_checkpointing keeps and costs", 3)
    question.add_argument("--model", default="unet_large", help="of conf/model")
    question.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 1024], help="sides of the one image")
    question.add_argument("--timed", type=int, default=512, help="the size of which steps are run, too")
    question.add_argument("--precision", default="16", help="as trainer.precision: 16 or 32")

    question = ask(augment, "pairs/s of elastic deformation, against other libraries", 7)
    question.add_argument("--sizes", type=int, nargs="+", default=[101, 512], help="sides of the images, in pixels")
    question.add_argument("--count", type=int, default=32, help="pairs at a time")

    question = ask(predict, "images/s and peak memory of prediction, against MONAI's sliding window", 3)
    question.add_argument("--model", default="unet_small", help="of conf/model")
    question.add_argument("--section", type=int, nargs="+", default=[2048], help="sides of the large images, in pixels")
    question.add_argument("--tile", type=int, default=1024)
    question.add_argument("--overlap", type=int, default=128)
    question.add_argument("--images", type=int, default=256, help="small ones, of 101x101")
    question.add_argument("--batch", type=int, default=32, help="of small ones")

    question = ask(quality, "images and seconds until U_net_recreation's score is passed on TGS Salt", 1)
    question.add_argument("--data", type=Path, required=True, help="TGS Salt as downloaded")
    question.add_argument("--ours", nargs="*", default=["experiment=tgs_quick"], help="overrides of train.py")

    question = ask(startup, "seconds until train.py shows its help, its configuration and makes a step", 5)
    question.add_argument("--ours", nargs="*", default=[], help="overrides of train.py")

    question = questions.add_parser("networks", help="a table of the networks of conf/model; goes on where it stopped")
    question.set_defaults(run=networks)
    question.add_argument("--models", nargs="+", default=every_network(), help="default: all")
    question.add_argument("--epochs", type=int, default=12, help="of training on data=synthetic")
    question.add_argument("--count", type=int, default=500, help="synthetic images, of which a fifth validates")
    question.add_argument("--rounds", type=int, default=5, help="paired rounds; the median is shown")
    question.add_argument("--output", type=Path, default=Path("benchmark"), help="folder of networks.md, networks.json")

    arguments = vars(parser.parse_args())
    name, run = arguments.pop("question"), arguments.pop("run")
    with mistakes_in_one_line():
        if run is networks:
            networks(**arguments)
        else:
            publish(name, run, **arguments)


def publish(name: str, run: Callable[..., Answer], threads: int, device: str, output: Path, **options: Any) -> None:
    """Ask a question; print and write the answer."""
    torch.set_num_threads(threads)
    place = find_device(device)
    rows, sentences = run(device=place, **options)
    command = shlex.join(["python", *sys.argv])
    about = machine(place)
    print("\n".join([table(rows), *sentences, f"{command}\n{about['device']}, {threads} threads, {about['date']}"]))
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {"question": name, "command": command, "machine": about, "rows": rows, "said": sentences}
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {output}")


def machine(device: torch.device) -> dict[str, Any]:
    """Where and with what something was measured."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), platform.processor())
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16 in hardware": any(" avx512_bf16" in x or " amx_bf16" in x for x in lines),
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in ("torch", "lightning", "segmentation-models-pytorch", "monai")},
        },
        "date": time.strftime("%Y-%m-%d"),
    }


def installed(package: str) -> str | None:
    """A package's version; None without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(rows: list[Row]) -> str:
    """Rows as aligned columns; lists, such as single rounds, are for the JSON alone."""
    columns = [key for key, value in rows[0].items() if not isinstance(value, list)]
    cells = [columns, *([shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [not isinstance(rows[0][column], str) for column in columns]
    return "\n".join(
        "  ".join(cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(line, widths, numeric, strict=True))
        for line in cells
    )


def shown(value: object) -> str:
    """A number with three digits that count."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)


def paired(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    work: float = 1,
    *,
    warm_up: bool = True,
    clock: Callable[[Callable[[], Any], torch.device], float] | None = None,
) -> dict[str, Row]:
    """Seconds of each contender, of which the first is ours: median, interquartile range, and ratio to ours.

    Args:
        contenders: What to time, by name.
        rounds: In which each of them runs once.
        device: On which they work.
        work: Images that each run does, for images per second.
        warm_up: Whether to begin with a round that does not count.
        clock: What gives the seconds of a run on a device; `elapsed` unless said.
    """
    for run in contenders.values() if warm_up else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            gc.collect()
            seconds[name].append((clock or elapsed)(run, device))
    return {name: statistics_of(values, next(iter(seconds.values())), work) for name, values in seconds.items()}


def elapsed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, what it left to the GPU included."""
    work_ends(device)
    started = time.perf_counter()
    run()
    work_ends(device)
    return time.perf_counter() - started


def work_ends(device: torch.device) -> None:
    """Wait for what a GPU has still to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def statistics_of(seconds: Sequence[float], ours: Sequence[float], work: float = 1) -> Row:
    """Of paired rounds."""
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "seconds": quartiles[1],
        "IQR": quartiles[2] - quartiles[0],
        "images/s": work / quartiles[1],
        "time / unetkit's": statistics.median(a / b for a, b in zip(seconds, ours, strict=True)),
        "rounds": list(seconds),
    }


def peak_mib(device: torch.device, work: Callable[..., object], *arguments: Any) -> float:
    """Most memory that work takes beyond what is imported: on a CPU all that the process holds, on a GPU its tensors.

    It is done in a process of its own.
    """
    with apart() as pool:
        return pool.submit(_growth, device, torch.get_num_threads(), work, *arguments).result()


def apart() -> ProcessPoolExecutor:
    """A process of its own, forked from one that has only imported what is needed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "unetkit.training", *(name for name in PEERS if name in sys.modules)]
    )
    return ProcessPoolExecutor(1, mp_context=context)


def started_anew(keeps: bool) -> ProcessPoolExecutor:
    """A process that begins as train.py does, which asks for huge pages before it imports torch, or as any other."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    before = os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: "1"} if keeps else {}
    pool.submit(os.getpid).result()  # it has its environment now
    os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: before} if before is not None else {}
    return pool


def _growth(device: torch.device, threads: int, work: Callable[..., object], *arguments: Any) -> float:
    torch.set_num_threads(threads)
    before = _peak(device)
    work(*arguments)
    return (_peak(device) - before) / 2**20


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # as getrusage tells of the program that a process was started from, too
        (line,) = (x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def peer(module: str, place: Path | None = None) -> Any:
    """A peer's module.

    Raises:
        UserError: If it is not installed, or no clone was given.
    """
    if place is not None and str(place.absolute()) not in sys.path:
        sys.path.insert(0, str(place.absolute()))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{module} can't be imported ({error}); install it, or give its clone") from error


# step: a network and images on one device, and the ways to train it.


@dataclass
class Training:
    """A way to train a network; called, it makes a step.

    Attributes:
        network: That is trained.
        objective: The loss of logits and class indices.
        optimizer: Of its parameters.
        half: The type of what autocast finds fit for it; None for float32.
        clip: Norm of the gradients above which they are scaled down.
        layout: Memory order of images.
    """

    network: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    half: torch.dtype | None = None
    clip: float | None = None
    layout: torch.memory_format = torch.contiguous_format

    def __post_init__(self) -> None:
        self.parameters = list(self.network.parameters())
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.half == torch.float16)

    @property
    def device(self) -> str:
        """Where the network is."""
        return next(self.network.parameters()).device.type

    def __call__(self, images: Tensor, target: Tensor) -> float:
        """Make a step on images (B, C, H, W) and class indices (B, H, W), and give the loss."""
        with torch.autocast(self.device, self.half, enabled=self.half is not None):
            loss = self.objective(self.logits(images), target)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def logits(self, images: Tensor) -> Tensor:
        """What the network says of images."""
        logits: Tensor = self.network(images.to(memory_format=self.layout))
        return logits


def half_of(device: torch.device) -> torch.dtype:
    """The 16-bit type that unetkit, as torch's autocast, takes on a device."""
    return torch.float16 if choose_precision(16, device.type) == "16-mixed" else torch.bfloat16


def unetkits(
    network: nn.Module,
    device: torch.device,
    clone: Path | None,
    amp: bool = True,
    layout: torch.memory_format = torch.channels_last,
    keeps: bool = True,
) -> Training:
    """As train.py does by default, in trainer.precision=16."""
    if keeps:
        keep_freed_memory()
    cfg = composed("unet_small")
    loss = instantiate(cfg.loss, _convert_="all")
    network.to(device, memory_format=layout)  # type: ignore[call-overload]

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        target = centre_crop(target, *logits.shape[2:])
        value: Tensor = loss(logits, target, torch.ones_like(target, dtype=torch.bool))
        return value

    optimizer = instantiate(cfg.optimizer, _convert_="all")(parameter_groups(network))
    half = half_of(device) if amp else None
    return Training(network, objective, optimizer, half, cfg.trainer.gradient_clip_val, layout)


# The same loss and optimiser, where a peer brings a network but no training of its own.
in_fp32 = partial(unetkits, amp=False, layout=torch.contiguous_format, keeps=False)
in_amp = partial(unetkits, layout=torch.contiguous_format, keeps=False)


def plain(network: nn.Module, device: torch.device, clone: Path | None) -> Training:
    """As U_net_recreation and most scripts do: channels first, Adam, binary cross-entropy on what comes out."""
    network.to(device)

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        target = centre_crop(target, *logits.shape[2:])
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.float())

    return Training(network, objective, torch.optim.Adam(network.parameters(), 1e-4, weight_decay=1e-4))


def milesials(network: nn.Module, device: torch.device, clone: Path | None, amp: bool = False) -> Training:
    """As milesial's train.py does for two classes."""
    dice_loss = peer("utils.dice_score", clone).dice_loss
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        classes = F.one_hot(target, 2).permute(0, 3, 1, 2).float()
        dice: Tensor = dice_loss(F.softmax(logits, dim=1).float(), classes, multiclass=True)
        return F.cross_entropy(logits, target) + dice

    optimizer = torch.optim.RMSprop(network.parameters(), 1e-5, weight_decay=1e-8, momentum=0.999, foreach=True)
    return Training(network, objective, optimizer, half_of(device) if amp else None, 1.0, torch.channels_last)


def from_conf(name: str, clone: Path | None) -> nn.Module:
    """A network of conf/model."""
    network: nn.Module = instantiate(composed(name).model, _convert_="all")
    return network


def milesial_unet(clone: Path | None) -> nn.Module:
    """Of the clone.

    Raises:
        UserError: If none was given.
    """
    if clone is None:
        raise UserError("milesial's U-Net: give --milesial DIR, a clone of milesial/Pytorch-UNet")
    network: nn.Module = peer("unet", clone).UNet(n_channels=3, n_classes=2)
    return network


def smp_unet(clone: Path | None) -> nn.Module:
    """U-Net over a ResNet-34."""
    network: nn.Module = peer("segmentation_models_pytorch").Unet("resnet34", encoder_weights=None, in_channels=1)
    return network


def monai_unet(clone: Path | None) -> nn.Module:
    """BasicUNet as MONAI sets it up."""
    network: nn.Module = peer("monai.networks.nets").BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)
    return network


Network = Callable[[Path | None], nn.Module]
Way = Callable[[nn.Module, torch.device, Path | None], Training]


@dataclass(frozen=True)
class Case:
    """Contenders that train one network, on the same tensors.

    Attributes:
        contenders: A network and a way to train it, by name; ours first.
        is_large: Whether it takes the smaller batch.
        channels: Of the images.
        classes: Of the logits.
    """

    contenders: dict[str, tuple[Network, Way]]
    is_large: bool = False
    channels: int = 1
    classes: int = 1


def against_plain(name: str, peer_name: str, **facts: Any) -> Case:
    """A network of conf/model, trained in our way and in the plain one."""
    network = partial(from_conf, name)
    return Case({"unetkit": (network, unetkits), peer_name: (network, plain)}, **facts)


CASES = {
    "unet_recreation_small": against_plain("unet_recreation_small", "U_net_recreation: NCHW fp32", channels=3),
    "unet_small": against_plain("unet_small", "NCHW fp32"),
    "unet_base": against_plain("unet_base", "NCHW fp32"),
    "unet_large": against_plain("unet_large", "NCHW fp32", is_large=True),
    "unet_milesial": Case(
        {
            "unetkit": (partial(from_conf, "unet_milesial"), unetkits),
            "milesial": (milesial_unet, milesials),
            "milesial --amp": (milesial_unet, partial(milesials, amp=True)),
        },
        is_large=True,
        channels=3,
        classes=2,
    ),
    "SMP Unet-ResNet34": Case(
        {
            "unetkit": (smp_unet, unetkits),
            "SMP: NCHW fp32": (smp_unet, in_fp32),
            "SMP: NCHW amp": (smp_unet, in_amp),
        },
        is_large=True,
    ),
    "MONAI BasicUNet": Case(
        {
            "unetkit": (monai_unet, unetkits),
            "MONAI: NCHW fp32": (monai_unet, in_fp32),
            "MONAI: NCHW amp": (monai_unet, in_amp),
        },
        is_large=True,
    ),
}


def step(
    rounds: int,
    device: torch.device,
    sizes: list[int],
    small_batch: int,
    large_batch: int,
    cases: list[str],
    milesial: Path | None,
) -> Answer:
    """Training steps of the same network on the same tensors, in our way and in the peers'.

    Raises:
        UserError: If no case can be run.
    """
    rows: list[Row] = []
    left_out: dict[str, None] = {}  # a set that keeps its order
    limits = measured_limits(device)
    for case in cases:  # before the first peak is measured, which must not count what is imported
        with suppress(UserError):
            [network(milesial) for network, _ in CASES[case].contenders.values()]
    for size in sizes:
        for name in tqdm(cases, f"{size} px", unit="case", leave=False):
            pixels = (large_batch if CASES[name].is_large else small_batch) * SIDE**2
            batch = max(pixels // size**2, 1)
            with ExitStack() as processes:
                trainings: dict[str, TrainingApart] = {}
                for contender in CASES[name].contenders:
                    pool = processes.enter_context(started_anew(keeps=contender == "unetkit"))
                    try:
                        trainings[contender] = TrainingApart(pool, device, name, contender, batch, size, milesial)
                    except UserError as error:
                        left_out[f"left out: {error}"] = None
                if not trainings:
                    continue
                check_alike({n: t.shape for n, t in trainings.items()}, batch, CASES[name].classes)
                timed = paired(trainings, rounds, device, work=batch, clock=lambda run, _: run())
            facts = {"network": name, "pixels": size, "batch": batch}
            for n, row in timed.items():
                shares = trainings[n].shares(row["seconds"], limits)
                rows.append({**facts, "way": n, "peak MiB": trainings[n].peak, **row, **shares})
    if not rows:
        raise UserError("; ".join(left_out))
    said = (
        f"limits measured here: {limits.flops / 1e12:.3g} TFLOP/s in a {half_of(device)} matrix product, "
        f"{limits.bytes / 1e9:.3g} GB/s in a copy; of bytes/s: were what the backward pass keeps written and read once"
    )
    return rows, [said, *left_out]


class Limits(NamedTuple):
    """Of a device: operations in a 16-bit matrix product and bytes in a copy, read and written, in a second."""

    flops: float
    bytes: float


def measured_limits(device: torch.device) -> Limits:
    """The best of ten."""
    side, size = (8192, 2**31) if device.type == "cuda" else (2048, 2**28)
    a = torch.rand(side, side, device=device).to(half_of(device))
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product = min(elapsed(lambda: a @ a, device) for _ in range(10))
    copy = min(elapsed(lambda: target.copy_(source), device) for _ in range(10))
    return Limits(2 * side**3 / product, 2 * size / copy)


def random_batch(case: Case, batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (B, C, size, size) and class indices (B, size, size)."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(batch, case.channels, size, size, generator=draw)
    return images.to(device), (images[:, 0] > 0.5).long().to(device)


def training_of(case: str, contender: str, device: torch.device, clone: Path | None) -> Training:
    """A contender, ready."""
    network, way = CASES[case].contenders[contender]
    torch.manual_seed(0)
    return way(network(clone), device, clone)


class TrainingApart:
    """A contender in a process of its own, whose memory nobody else has used; called, it makes a step.

    Attributes:
        shape: Of its logits.
        peak: Most memory of two steps, of which the second has the optimiser's state, too, in MiB.
        flops: Operations of a step.
        kept: Bytes that the forward pass keeps for the backward pass.
    """

    here: "tuple[Training, Tensor, Tensor]"  # in that process

    def __init__(self, pool: ProcessPoolExecutor, device: torch.device, *facts: Any) -> None:
        """Make it ready in the only process of a pool; facts: what `_prepare` takes besides."""
        self.pool = pool
        self.device = device
        prepared = pool.submit(self._prepare, torch.get_num_threads(), device, *facts)
        self.shape, self.peak, self.flops, self.kept = prepared.result()

    def __call__(self) -> float:
        """Seconds of a step."""
        return self.pool.submit(self._step, self.device).result()

    def shares(self, seconds: float, limits: Limits) -> Row:
        """Of the limits, that a step of so many seconds reaches."""
        return {
            "of FLOP/s": self.flops / seconds / limits.flops,
            "of bytes/s": 2 * self.kept / seconds / limits.bytes,
        }

    @classmethod
    def _prepare(
        cls, threads: int, device: torch.device, case: str, contender: str, batch: int, size: int, clone: Path | None
    ) -> tuple[tuple[int, ...], float, int, int]:
        torch.set_num_threads(threads)
        before = _peak(device)
        training = training_of(case, contender, device, clone)
        cls.here = (training, *random_batch(CASES[case], batch, size, device))
        for _ in range(2):
            cls._step(device)
        growth = (_peak(device) - before) / 2**20
        with torch.no_grad():
            shape = tuple(training.logits(cls.here[1]).shape)
        with FlopCounterMode(display=False) as counter:
            cls._step(device)
        kept = kept_bytes(training, cls.here[1])
        for _ in range(WARM_UP):
            cls._step(device)
        return shape, growth, counter.get_total_flops(), kept

    @classmethod
    def _step(cls, device: torch.device) -> float:
        training, images, target = cls.here
        gc.collect()
        return elapsed(partial(training, images, target), device)


def check_alike(shapes: dict[str, tuple[int, ...]], batch: int, classes: int) -> None:
    """Stop where contenders don't do the same thing.

    Raises:
        UserError: If the shapes of their logits differ, or are not those of logits.
    """
    if len(set(shapes.values())) != 1 or next(iter(shapes.values()))[:2] != (batch, classes):
        raise UserError(f"the contenders' logits differ in shape, so they are not compared: {shapes}")


# epoch: whole processes on the same files.


class Clock(L.Callback):
    """Writes the time when each epoch begins, and when the last ends, into a JSON list; given to train.py by name.

    Args:
        file: To write.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch begins, and with it the one before ends, its validation and checkpoints included."""
        self.times.append(time.time())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch is over."""
        self.times.append(time.time())
        self.file.write_text(json.dumps(self.times), encoding="utf-8")


def epoch(
    rounds: int,
    device: torch.device,
    data: Path | None,
    images: int,
    epochs: int,
    batch: int,
    ours: list[str],
    milesial: Path | None,
) -> Answer:
    """Whole epochs of train.py and of milesial's, each as a process on the same PNG files.

    Raises:
        UserError: If there are too few epochs.
    """
    if epochs < 2:
        raise UserError(f"--epochs {epochs} must be at least 2, since the first is not counted")
    seconds: dict[str, list[float]] = {}
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_pairs(Path(folder) / "data", data, images)
        loops: dict[str, Callable[[Path], list[float]]] = {
            f"unetkit {' '.join(ours)}, batch {batch}": partial(our_loop, files, epochs, batch, device, ours, waits)
        }
        if milesial is not None:
            theirs = partial(their_loop, milesial, files, epochs)
            loops["milesial, batch 1 (its default)"] = partial(theirs, [])
            loops[f"milesial --amp, batch {batch}"] = partial(theirs, ["--amp", "--batch-size", str(batch)])
        for number in range(rounds):
            for place, (name, loop) in enumerate(tqdm(loops.items(), f"round {number + 1}", unit="run", leave=False)):
                work = Path(folder) / f"{place}-{number}"
                work.mkdir()
                seconds[name] = seconds.get(name, []) + loop(work)
    rows = [
        {"loop": name, "images": images, **statistics_of(values, next(iter(seconds.values())), images)}
        for name, values in seconds.items()
    ]
    sentences = [] if milesial else ["left out: milesial's loop; give --milesial DIR, a clone of milesial/Pytorch-UNet"]
    if waits:
        sentences.append(f"unetkit's network waits for data in {statistics.median(waits):.1%} of the time")
    return rows, sentences


def write_pairs(root: Path, data: Path | None, count: int) -> Path:
    """The first pairs of a data set as RGB images and masks of 0 and 255 in PNG, in `images/` and `masks/`.

    Raises:
        UserError: If there are fewer.
    """
    source = write_synthetic(root / "synthetic", count=count, size=101, seed=0) if data is None else data
    is_tgs = (source / "train.csv").exists() or (source / "train.zip").exists()
    pairs = (tgs_salt_pairs if is_tgs else folder_pairs)(source)[:count]
    if len(pairs) < count:
        raise UserError(f"--images {count}, but {source} holds {len(pairs)}")
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number, pair in enumerate(pairs):
        if pair.mask is None:
            raise UserError(f"{pair.image} has its mask as run lengths, but milesial's loop reads files; unpack masks/")
        image = read_image(pair.image)
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        cv2.imwrite(str(root / "images" / f"{number:05}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{number:05}.png"), (read_image(pair.mask) > 0).astype(np.uint8) * 255)
    return root


def our_loop(
    files: Path, epochs: int, batch: int, device: torch.device, ours: list[str], waits: list[float], work: Path
) -> list[float]:
    """Seconds of the epochs of train.py but the first; what the network waited goes into `waits`."""
    options = ["data=folder", f"data.root={files}", f"data.cache_dir={work / 'cache'}", "data.val_fraction=0.1"]
    options += [f"data.batch_size={batch}", "trainer.precision=16", f"trainer.max_epochs={epochs}"]
    times, run_dir = run_train(work, [*options, f"trainer.accelerator={accelerator(device)}", *ours])
    wait = json.loads((run_dir / "summary.json").read_text(encoding="utf-8")).get("data_wait")
    waits += [] if wait is None else [wait]
    return [end - start for start, end in itertools.pairwise(times[1:])]


def run_train(work: Path, options: list[str]) -> tuple[list[float], Path]:
    """Run train.py: when it was started and its epochs began and the last ended, and its run directory."""
    clock, run_dir = work / "clock.json", work / "run"
    added = ["+callbacks.clock._target_=benchmark.Clock", f"+callbacks.clock.file={clock}"]
    paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    run_process(
        [sys.executable, str(ROOT / "train.py"), *options, f"hydra.run.dir={run_dir}", *added],
        cwd=work,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
    )
    return json.loads(clock.read_text(encoding="utf-8")), run_dir


def accelerator(device: torch.device) -> str:
    """Lightning's name for a device."""
    return "gpu" if device.type == "cuda" else device.type


def their_loop(clone: Path, files: Path, epochs: int, options: list[str], work: Path) -> list[float]:
    """Seconds of the epochs of milesial's train.py but the first: it writes a checkpoint at the end of each."""
    (work / "data").mkdir()
    (work / "data" / "imgs").symlink_to(files / "images")
    (work / "data" / "masks").symlink_to(files / "masks")
    command = [sys.executable, str((clone / "train.py").absolute()), "--scale", "1", "--epochs", str(epochs), *options]
    run_process(command, cwd=work)
    ends = [(work / "checkpoints" / f"checkpoint_epoch{n + 1}.pth").stat().st_mtime for n in range(epochs)]
    return [end - start for start, end in itertools.pairwise(ends)]


def run_process(command: list[str], cwd: Path, **environment: str) -> None:
    """Run a process to its end, with as many threads as this one and W&B offline.

    Raises:
        UserError: If it fails.
    """
    threads = str(torch.get_num_threads())
    settings = {"OMP_NUM_THREADS": threads, "WANDB_MODE": "offline", "WANDB_SILENT": "true", **environment}
    done = subprocess.run(command, cwd=cwd, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")


# memory: gradient checkpointing.


def memory(rounds: int, device: torch.device, model: str, sizes: list[int], timed: int, precision: str) -> Answer:
    """Bytes kept for the backward pass at each size, and peak and time of a step at one, for each setting."""
    amp = choose_precision(precision, device.type) != "32-true"
    settings: list[int | str] = ["none", *range(1, len(composed(model).model.channels)), "all"]
    trainings = {s: checkpointing(model, s, amp, device) for s in settings}
    rows: list[Row] = []
    for size in tqdm(sorted({*sizes, timed}), unit="size", leave=False):
        x, y = image_of(model, size, device)
        kept = {s: kept_bytes(training, x) for s, training in trainings.items()}
        measured: dict[str, Row] = {}
        if size == timed:
            measured = paired({str(s): partial(t, x, y) for s, t in trainings.items()}, rounds, device)
        for s in settings:
            row = {"pixels": size, "level": str(s), "kept MiB": kept[s] / 2**20, "of none": kept[s] / kept["none"]}
            row |= {"peak MiB": None, "seconds": None, "IQR": None, "time of none": None}
            if measured:
                seconds = measured[str(s)]
                row |= {"peak MiB": peak_mib(device, checkpointed_steps, model, s, amp, size, device)}
                row |= {"seconds": seconds["seconds"], "IQR": seconds["IQR"], "rounds": seconds["rounds"]}
                row["time of none"] = seconds["time / unetkit's"]
            rows.append(row)
    return rows, [advice(rows, timed)]


def checkpointing(model: str, setting: int | str, amp: bool, device: torch.device) -> Training:
    """The training of a network that computes so many levels again."""
    torch.manual_seed(0)
    network = instantiate(composed(model, f"model.gradient_checkpointing={setting}").model, _convert_="all")
    return unetkits(network, device, None, amp)


def image_of(model: str, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """An image (1, C, size, size) and its class indices."""
    return random_batch(Case({}, channels=composed(model).model.in_channels), 1, size, device)


def kept_bytes(training: Training, x: Tensor) -> int:
    """For the backward pass of x, in the training's precision; weights in it included where they are copies."""
    with torch.autocast(training.device, training.half, enabled=training.half is not None):
        return activation_bytes(training.network, x.to(memory_format=training.layout))


def checkpointed_steps(model: str, setting: int | str, amp: bool, size: int, device: torch.device) -> None:
    """Two steps of a new network."""
    training = checkpointing(model, setting, amp, device)
    x, y = image_of(model, size, device)
    for _ in range(2):
        training(x, y)


def advice(rows: list[Row], size: int, most: float = 1.25) -> str:
    """Which setting keeps least for how much time."""
    affordable = [row for row in rows if row["pixels"] == size and row["time of none"] <= most]
    best = min(affordable, key=lambda row: float(row["kept MiB"]))
    return (
        f"at {size} px, the least for at most {most:g}x the time: gradient_checkpointing={best['level']} keeps "
        f"{best['of none']:.0%} in {best['time of none']:.2f}x"
    )


# augment: elastic deformations of pairs of image and mask, each as its library takes them, all about as far.

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Deform = Callable[[], tuple[Any, Any]]  # images and masks, as the library gives them
EPOCH = 2560  # images, as of a fold of TGS Salt
SAW, SLOPE = 40, 6  # a sawtooth by which displacements are measured: its length in pixels, and its rise of a pixel


def augment(rounds: int, device: torch.device, sizes: list[int], count: int) -> Answer:
    """Pairs per second of elastic deformations whose displacement has the root mean square of albumentations'."""
    rows: list[Row] = []
    sentences = []
    for size in sizes:
        images = np.random.default_rng(0).integers(0, 256, (count, size, size), np.uint8)
        masks = (images > 127).astype(np.uint8)
        strengths, missing = equal_strengths(size, device)
        runs = {name: DEFORMERS[name][0](images, masks, strength, device) for name, strength in strengths.items()}
        for run in runs.values():
            check_pairs(*run(), (count, size, size))
        for name, result in paired(runs, rounds, device, count).items():
            row = {"size": size, "library": name, "batch": count, "ms/pair": 1000 * result["seconds"] / count}
            pixels = displacement_px(name, strengths[name], size, device)
            rows.append({**row, "RMS, px": pixels, **result})
        sentences += missing
    return rows, sorted(set(sentences))


def equal_strengths(size: int, device: torch.device) -> tuple[dict[str, float], list[str]]:
    """What to ask each library for, so that all displace as far as albumentations with alpha 120 and sigma 6."""
    wanted = displacement_px("albumentations ElasticTransform", ALBUMENTATIONS_ALPHA, size, device)
    strengths, missing = {}, []
    for name, (_, strength) in DEFORMERS.items():
        try:
            closer = strength * wanted / displacement_px(name, strength, size, device)
            strengths[name] = closer * wanted / displacement_px(name, closer, size, device)
        except UserError as error:
            missing.append(f"left out: {name}, {error}")
    return strengths, missing


def displacement_px(name: str, strength: float, size: int, device: torch.device, draws: int = 64) -> float:
    """Root mean square of the displacement along x, by what becomes of a sawtooth."""
    columns = np.arange(size)
    saw = np.broadcast_to((SLOPE * (columns % SAW)).astype(np.uint8), (draws, size, size))
    images, _ = DEFORMERS[name][0](np.ascontiguousarray(saw), np.zeros_like(saw), strength, device)()
    away = np.abs(columns % SAW - SAW / 2) < SAW / 5  # from its edges
    inside = np.abs(columns - size / 2) < size / 2 - SAW / 4
    moved = as_array(images).reshape(saw.shape).astype(np.float64) - saw
    return float(np.sqrt(np.square(moved[:, inside][:, :, inside & away] / SLOPE).mean()))


def as_array(batch: Any) -> np.ndarray[Any, Any]:
    """A batch, or a list of single images, on the CPU."""
    return np.stack([np.asarray(torch.as_tensor(image).cpu()) for image in batch])


def check_pairs(images: Any, masks: Any, shape: tuple[int, ...]) -> None:
    """Whether these are images of that shape, and masks of nothing but 0 and 1."""
    found = as_array(images), as_array(masks)
    if any(x.size != np.prod(shape) for x in found) or not set(np.unique(found[1])) <= {0, 1}:
        raise RuntimeError(f"{[x.shape for x in found]} are not pairs of images and binary masks of {shape}")


def our_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """unetkit's, of whole batches; what is drawn for them on the CPU, a table for an epoch, is included."""
    augmentation = DeviceAugmentation(0, flip=0, displacement_px=strength, elastic_p=1)
    pixels, classes = (torch.from_numpy(x)[:, None].to(device) for x in (images, masks))
    starts, indices = itertools.count(step=len(images)), np.arange(len(images))

    def deform() -> tuple[Tensor, Tensor]:
        epoch, first = divmod(next(starts), EPOCH)
        draws = augmentation.draw(epoch, first + indices, *images.shape[1:])
        return augmentation.apply(pixels, classes, *(x.to(device, non_blocking=True) for x in draws))

    return deform


def albumentations_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Its ElasticTransform with sigma 6, and mirrored borders, pair by pair."""
    transform = A.Compose([A.ElasticTransform(alpha=strength, sigma=6, border_mode=cv2.BORDER_REFLECT_101, p=1)])

    def deform() -> tuple[list[Bytes], list[Bytes]]:
        pairs = [transform(image=image, mask=mask) for image, mask in zip(images, masks, strict=True)]
        return [pair["image"] for pair in pairs], [pair["mask"] for pair in pairs]

    return deform


def elasticdeform_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Its deform_random_grid with 3x3 points, linear for images and nearest for masks, pair by pair."""
    library = peer("elasticdeform")

    def deform() -> tuple[list[Bytes], list[Bytes]]:
        pairs = [
            library.deform_random_grid([image, mask], strength, 3, order=[1, 0], mode="mirror")
            for image, mask in zip(images, masks, strict=True)
        ]
        return [image for image, _ in pairs], [mask for _, mask in pairs]

    return deform


def monai_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """MONAI's Rand2DElasticd with about four points a side, pair by pair."""
    transform = peer("monai.transforms").Rand2DElasticd(
        keys=("image", "mask"),
        spacing=images.shape[1] // 4,
        magnitude_range=(strength, strength),
        prob=1.0,
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
        device=device,
    )
    pixels, classes = (torch.from_numpy(x).float()[:, None].to(device) for x in (images, masks))

    def deform() -> tuple[list[Tensor], list[Tensor]]:
        pairs = [transform({"image": image, "mask": mask}) for image, mask in zip(pixels, classes, strict=True)]
        return [pair["image"] for pair in pairs], [pair["mask"] for pair in pairs]

    return deform


def kornia_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Kornia's RandomElasticTransform, of whole batches."""
    library = peer("kornia.augmentation")
    elastic = library.RandomElasticTransform(
        alpha=(strength, strength), align_corners=True, padding_mode="reflection", p=1.0
    )
    transform = library.AugmentationSequential(elastic, data_keys=["input", "mask"])
    pixels, classes = (torch.from_numpy(x).float()[:, None].to(device) for x in (images, masks))

    def deform() -> tuple[Tensor, Tensor]:
        moved, mask = transform(pixels, classes)
        return moved, mask

    return deform


ALBUMENTATIONS_ALPHA = 120.0
DEFORMERS: dict[str, tuple[Callable[..., Deform], float]] = {  # with a strength to begin with
    "unetkit DeviceAugmentation": (our_deformation, 2.0),
    "albumentations ElasticTransform": (albumentations_deformation, ALBUMENTATIONS_ALPHA),
    "elasticdeform": (elasticdeform_deformation, 2.0),
    "MONAI Rand2DElastic": (monai_deformation, 0.2),
    "kornia RandomElasticTransform": (kornia_deformation, 1.0),
}


# predict: small images in batches, large ones in tiles.


def predict(
    rounds: int,
    device: torch.device,
    model: str,
    section: list[int],
    tile: int,
    overlap: int,
    images: int,
    batch: int,
) -> Answer:
    """Prediction of the same network on the same pixels, by unetkit and by MONAI's sliding window."""
    left_out = []
    ways = {"unetkit": (our_tiles, our_section), "MONAI": (monai_tiles, monai_section)}
    try:
        peer("monai.inferers")
    except UserError as error:
        del ways["MONAI"]
        left_out.append(f"left out: {error}")
    made = {n: (model, device, tile, overlap, n == "unetkit") for n in ways}
    ensembles = {n: random_ensemble(*arguments) for n, arguments in made.items()}
    pixels = np.random.default_rng(0).integers(0, 256, (images, 101, 101, 1), np.uint8)
    said = {n: tiles(ensembles[n], pixels[:batch], batch) for n, (tiles, _) in ways.items()}
    rounding = 1e-4 if device.type == "cpu" else 1e-2  # GPUs round the factors of a convolution
    if any(not torch.allclose(said["unetkit"], other, atol=rounding) for other in said.values()):
        raise UserError("the contenders' probabilities differ, so they are not compared")
    runs: dict[str, Callable[[], object]] = {
        n: partial(tiles, ensembles[n], pixels, batch) for n, (tiles, _) in ways.items()
    }
    peaks = {n: peak_mib(device, alone, tiles, made[n], pixels, batch) for n, (tiles, _) in ways.items()}
    measured = paired(runs, rounds, device, images)
    rows = [{"images": f"{images} of 101x101", "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]
    with tempfile.TemporaryDirectory() as folder:
        for side in section:
            path = Path(folder) / f"{side}.npy"
            write_section(path, side)
            outputs = {n: Path(folder) / f"{side}-{n}" for n in ways}
            runs = {n: partial(ways[n][1], ensembles[n], path, outputs[n]) for n in ways}
            peaks = {n: peak_mib(device, alone, ways[n][1], made[n], path, outputs[n]) for n in ways}
            measured = paired(runs, rounds, device)
            masks = {n: np.load(next(output.rglob("*.npy")), mmap_mode="r") for n, output in outputs.items()}
            if any((mask.shape, mask.dtype) != ((side, side), np.uint8) for mask in masks.values()):
                raise UserError("the contenders' masks differ in kind, so they are not compared")
            name = f"{side}x{side}"
            rows += [{"images": name, "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]
    return rows, left_out


def random_ensemble(model: str, device: torch.device, tile: int, overlap: int, folded: bool) -> Ensemble:
    """A network with random weights, in eval; folded as `unetkit.load` does with a trained one."""
    torch.manual_seed(0)
    network = from_conf(model, None).eval()
    network = fold_norms(network) if folded else network
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = Preprocessing(1, mean=(0.5,), std=(0.3,))
    return Ensemble([Predictor(network, preprocessing, tile=tile, overlap=overlap)])


def alone(work: Callable[..., object], made: tuple[Any, ...], *arguments: Any) -> None:
    """Do it with an ensemble of its own."""
    work(random_ensemble(*made), *arguments)


def write_section(path: Path, side: int) -> None:
    """Noise (side, side) in a .npy, written strip by strip."""
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (side, side))
    draw = np.random.default_rng(0)
    for top in range(0, side, 256):
        file[top : top + 256] = draw.integers(0, 256, file[top : top + 256].shape, np.uint8)
    file.flush()


def our_tiles(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
    """Probabilities (B, 1, H, W) of the last batch."""
    for start in range(0, len(pixels), batch):
        said = ensemble.probabilities([ensemble.prepare(image) for image in pixels[start : start + batch]])
    return said


@torch.inference_mode()
def monai_tiles(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
    """The same by MONAI."""
    for start in range(0, len(pixels), batch):
        said = slide(ensemble, pixels[start : start + batch], pixels.shape[1], batch)
    return said


def our_section(ensemble: Ensemble, path: Path, output: Path) -> None:
    """From a .npy to the .npy of its mask, as scripts/predict.py does with write=masks mask_format=npy."""
    FilePredictor(ensemble, Wanted(output, ["masks"], "npy")).run([FileRef(path)])


@torch.inference_mode()
def monai_section(ensemble: Ensemble, path: Path, output: Path) -> None:
    """The same by MONAI."""
    output.mkdir(exist_ok=True)
    probability = slide(ensemble, np.load(path)[None, ..., None], ensemble.tile, 1)
    np.save(output / "mask.npy", classify(probability, 0.5)[0].numpy().astype(np.uint8) * 255)


def slide(ensemble: Ensemble, pixels: np.ndarray[Any, Any], tile: int, batch: int) -> Tensor:
    """Probabilities (B, 1, H, W) on the CPU of pixels (B, H, W, 1) by MONAI, with our overlap where there are tiles."""
    member = ensemble.members[0]
    device = next(member.network.parameters()).device
    x = member.preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device))
    share = member.overlap / tile if tile < pixels.shape[1] else 0
    logits = peer("monai.inferers").sliding_window_inference(x, (tile, tile), batch, member.network, overlap=share)
    return probabilities(logits).cpu()


# quality: time to U_net_recreation's score.


def quality(rounds: int, device: torch.device, data: Path, ours: list[str]) -> Answer:
    """Kaggle's score on the whole frames of the validation fold after each epoch, until it is passed and beyond."""
    rows: list[Row] = []
    sentences = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.time()
            options = [*ours, f"data.root={data.absolute()}", f"data.cache_dir={folder}/cache"]
            options += [f"trainer.accelerator={accelerator(device)}"]
            times, run_dir = run_train(Path(folder), [*options, f"seed={47 + number}"])
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
                scores = [float(row["val/kaggle"]) for row in csv.DictReader(file) if row.get("val/kaggle")]
        curve = [
            {"seed": 47 + number, "images": summary["data"]["train"] * n, "seconds": end - started, "kaggle": score}
            for n, (end, score) in enumerate(zip(times[1:], scores, strict=True), start=1)
        ]
        rows += curve
        first = next((row for row in curve if row["kaggle"] > RECREATION_SCORE), None)
        sentences.append(
            f"seed {47 + number}: "
            + (
                f"{RECREATION_SCORE} is passed after {first['images']:,} images and {first['seconds']:.0f} s, which is "
                f"1/{960_000 / first['images']:.0f} of U_net_recreation's images"
                if first
                else f"{RECREATION_SCORE} is not passed"
            )
        )
    return rows, sentences


# startup: from typing to the first answer.


def startup(rounds: int, device: torch.device, ours: list[str]) -> Answer:
    """Seconds of processes, `import torch` among them."""
    python, script = sys.executable, str(ROOT / "train.py")
    with tempfile.TemporaryDirectory() as folder:
        one_step = ["trainer.max_steps=1", "trainer.limit_val_batches=1", f"trainer.accelerator={accelerator(device)}"]
        commands = {
            "python train.py --help": [python, script, "--help"],
            "python train.py --cfg job": [python, script, "--cfg", "job", *ours],
            "import torch": [python, "-c", "import torch"],
            "python train.py trainer.max_steps=1": [python, script, *one_step, f"hydra.run.dir={folder}/run", *ours],
        }
        runs = {name: partial(run_process, command, Path(folder)) for name, command in commands.items()}
        measured = paired(runs, rounds, device, warm_up=False)
    torchs = measured["import torch"]["rounds"]
    rows = []
    for name, row in measured.items():
        ratio = statistics.median(a / b for a, b in zip(row["rounds"], torchs, strict=True))
        chosen = {key: row[key] for key in ("seconds", "IQR")}
        rows.append({"command": name, **chosen, "time / import torch": ratio, "rounds": row["rounds"]})
    return rows, []


# networks: the table of docs/networks.md.


def networks(models: list[str], epochs: int, count: int, rounds: int, output: Path) -> None:
    """A row for each network in Markdown and JSON; those already in the folder, at these settings, are not run again.

    Raises:
        UserError: If there is no such network.
    """
    if unknown := set(models) - set(every_network()):
        raise UserError(f"--models {' '.join(unknown)} must be among {' '.join(every_network())}")
    settings = {"epochs": epochs, "count": count, "rounds": rounds}
    rows = {}
    for name in (bar := tqdm(models, unit="network")):
        bar.set_postfix_str(name)
        file = output / name / "row.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if stored.get("settings") != settings:
            stored = {"settings": settings, "row": measure(name, settings, output / name)}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        rows[name] = stored["row"]
    (output / "networks.json").write_text(
        json.dumps({"settings": settings, "networks": rows}, indent=2) + "\n", encoding="utf-8"
    )
    (output / "networks.md").write_text(markdown(rows, settings), encoding="utf-8")
    print(f"wrote {output / 'networks.md'} and {output / 'networks.json'}")


def measure(name: str, settings: dict[str, int], folder: Path) -> dict[str, Any]:
    """What the table says of a network, or why it is left out."""
    run = [f"trainer.max_epochs={settings['epochs']}", f"data.count={settings['count']}", "trainer.precision=16"]
    try:
        network, x = network_and_image(name)
        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "multiply_adds": multiply_adds(network, x),
            "speed": relative_speed(network, x, settings["rounds"]),
            "kept_bytes": activation_bytes(network, x),
            "val_iou": train(composed(name, *run, f"run_dir={folder / 'run'}"))["val/iou"],
        }
    except UserError as error:
        return {"skipped": str(error)}


def every_network() -> list[str]:
    """The names of conf/model, but for `unet`, which is the space that others are points of."""
    return sorted(file.stem for file in (CONF / "model").glob("*.yaml") if file.stem != "unet")


def composed(name: str, *overrides: str) -> DictConfig:
    """The configuration of a run."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"model={name}", "run_dir=unused", *overrides])


def network_and_image(name: str) -> tuple[nn.Module, Tensor]:
    """A network and an image (1, in_channels, SIDE, SIDE), mirrored by what unpadded convolutions lose.

    Raises:
        UserError: If it needs an extra that is not installed, or volumes.
    """
    cfg = composed(name)
    if cfg.model.get("spatial_dims", 2) != 2:
        raise UserError(f"model={name} is for volumes, the table is of images")
    with library_mistakes():
        network: nn.Module = instantiate(cfg.model, _convert_="all")
    margin = (int(getattr(network, "margin", 0)),) * 2
    return network, mirror_pad(torch.randn(1, cfg.model.in_channels, SIDE, SIDE), margin, margin)


def multiply_adds(network: nn.Module, x: Tensor) -> int:
    """Of convolutions and matrix products in a forward pass; attention as such products, which are all counted."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.eval()(x)
    network.train()
    return int(counter.get_total_flops()) // 2


def relative_speed(network: nn.Module, x: Tensor, rounds: int) -> float:
    """Training images per second, those of the reference being 1: the median of paired rounds, after one to warm up."""
    reference, y = network_and_image(REFERENCE)
    x, y = x.repeat(BATCH, 1, 1, 1), y.repeat(BATCH, 1, 1, 1)
    optimizers = {n: torch.optim.AdamW(n.parameters()) for n in (network, reference)}
    ratios = [
        one_step(reference, y, optimizers[reference]) / one_step(network, x, optimizers[network])
        for _ in range(rounds + 1)
    ]
    network.zero_grad(set_to_none=True)
    return statistics.median(ratios[1:])


def one_step(network: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of a forward and a backward pass and of the optimiser's step."""
    gc.collect()
    started = time.perf_counter()
    network(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - started


def markdown(rows: dict[str, dict[str, Any]], settings: dict[str, int]) -> str:
    """The table, and below it how it was measured."""
    lines = [
        f"| network | parameters | multiply-adds at {SIDE}x{SIDE} | training speed | kept, MiB | validation IoU |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        if "skipped" not in row:
            figures = (f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e9:.2f} G", f"{row['speed']:.2f}")
            kept = f"{row['kept_bytes'] / 2**20:.1f}"
            lines.append(f"| `{name}` | {' | '.join(figures)} | {kept} | {row['val_iou']:.3f} |")
    lines += ["", *(f"`{name}` is left out: {row['skipped']}." for name, row in rows.items() if "skipped" in row)]
    epochs, count, rounds = (settings[key] for key in ("epochs", "count", "rounds"))
    lines += [
        f"`python scripts/benchmark.py networks --epochs {epochs} --count {count} --rounds {rounds}`, "
        f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads. "
        "Multiply-adds: half of torch's FlopCounterMode, one image. Training speed: images/s of forward, backward and "
        f"AdamW on {BATCH} images in fp32, of `{REFERENCE}`'s in the same run, median of paired rounds. Kept: for the "
        f"backward pass of one image. IoU: after {epochs} epochs on {count} images of data=synthetic, of which a fifth "
        "validates, trainer.precision=16, all else as in conf/train.yaml; one seed.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
