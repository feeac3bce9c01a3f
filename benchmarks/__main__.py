"""Measurements, a subcommand for each question: `python scripts/benchmark.py step --milesial DIR`.

The contenders of a question take turns in paired rounds, so that a slow moment of the machine affects all of them. The
table has medians, and ratios to unetkit's time. It is printed, and written to `benchmark/QUESTION.json` with all rounds
and the machine.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.answers import Answer, publish
from benchmarks.augment import augment
from benchmarks.composing import every_network
from benchmarks.contenders import CASES
from benchmarks.epoch import epoch
from benchmarks.exported import exported
from benchmarks.loading import loading
from benchmarks.memory import memory
from benchmarks.networks import networks
from benchmarks.predict import predict
from benchmarks.quality import RECREATION_SCORE, quality
from benchmarks.quick_step import quick_step
from benchmarks.serve import serve
from benchmarks.speed import speed
from benchmarks.startup import startup
from benchmarks.step import step
from unetkit.errors import mistakes_in_one_line


def main() -> None:
    """Run the subcommand of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    questions = parser.add_subparsers(required=True, dest="question", metavar="QUESTION")

    def ask(answer: Callable[..., Answer], about: str, rounds: int) -> argparse.ArgumentParser:
        name = answer.__name__
        question = questions.add_parser(name, help=about, description=about)
        question.set_defaults(run=answer)
        question.add_argument("--rounds", type=int, default=rounds, help="paired rounds, of which the median is shown")
        question.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
        question.add_argument("--device", default="cpu", help="auto, cpu or cuda")
        question.add_argument("--output", type=Path, default=Path("benchmark") / f"{name}.json")
        return question

    question = ask(step, "images/s and peak memory of a training step, against peers", 5)
    question.add_argument("--sizes", type=int, nargs="+", default=[128, 512], help="sides of the images, in pixels")
    question.add_argument(
        "--small-batch", type=int, default=32, help="batch of 128x128 images for networks under 1 M parameters"
    )
    question.add_argument(
        "--large-batch", type=int, default=8, help="of larger networks; at other sizes, batches have as many pixels"
    )
    question.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    question.add_argument("--milesial", type=Path, help="a clone of milesial/Pytorch-UNet")

    question = ask(quick_step, "images/s of a training step, all ways in one process, for a short loan of a GPU", 5)
    question.add_argument("--cases", nargs="+", choices=CASES, default=["unet_small", "unet_milesial"])
    question.add_argument("--size", type=int, default=128, help="side of the images, in pixels")
    question.add_argument("--batch", type=int, default=32, help="images per batch")
    question.add_argument("--seconds", type=float, default=0.3, help="seconds of the steps that are timed in a row")
    question.add_argument("--milesial", type=Path, help="a clone of milesial/Pytorch-UNet")

    question = ask(speed, "images/s and seconds of the whole train.py on TGS Salt", 1)
    question.add_argument("--data", type=Path, required=True, help="TGS Salt as downloaded")
    question.add_argument("--ours", nargs="*", default=["experiment=tgs_small"], help="overrides of train.py")

    question = ask(loading, "share of the time in which the network waits for crops of JPEG photographs", 1)
    question.add_argument("--images", type=int, default=64, help="number of photographs")
    question.add_argument("--side", type=int, default=1000, help="their mean side, in pixels")
    question.add_argument("--crop", type=int, default=512, help="side of the crops, in pixels")
    question.add_argument("--batch", type=int, default=8, help="crops per batch")
    question.add_argument("--epochs", type=int, default=5)
    question.add_argument("--ours", nargs="*", default=["model=unet_large"], help="overrides of train.py")

    question = ask(epoch, "seconds of an epoch of train.py, against milesial's train.py", 1)
    question.add_argument("--data", type=Path, help="TGS Salt as downloaded, or images/ and masks/; default: synthetic")
    about = "number of images; with few, milesial's loop mostly evaluates, five times an epoch or more"
    question.add_argument("--images", type=int, default=320, help=about)
    question.add_argument("--epochs", type=int, default=3, help="number of epochs; the first is not measured")
    question.add_argument("--batch", type=int, default=8, help="images per batch; milesial's default is 1")
    question.add_argument("--ours", nargs="*", default=["model=unet_milesial"], help="overrides of train.py")
    question.add_argument("--milesial", type=Path, help="a clone of milesial/Pytorch-UNet")

    question = ask(memory, "memory and time of each setting of gradient_checkpointing", 3)
    question.add_argument("--model", default="unet_large", help="a file of conf/model")
    question.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 512, 1024], help="sides of the image, in pixels"
    )
    question.add_argument("--timed", type=int, default=512, help="the size at which steps are timed")
    question.add_argument("--precision", default="16", help="16 or 32, as trainer.precision")
    question.add_argument("--batch", type=int, default=1, help="images per batch")

    question = ask(augment, "pairs/s of elastic deformation, against other libraries", 7)
    question.add_argument("--sizes", type=int, nargs="+", default=[101, 512], help="sides of the images, in pixels")
    question.add_argument("--count", type=int, default=32, help="pairs per call")

    question = ask(predict, "images/s and peak memory of prediction, against MONAI's sliding window", 3)
    question.add_argument("--model", default="unet_small", help="a file of conf/model")
    question.add_argument("--section", type=int, nargs="+", default=[2048], help="sides of the large images, in pixels")
    question.add_argument("--tile", type=int, default=1024, help="side of a tile, in pixels")
    question.add_argument("--overlap", type=int, default=128, help="overlap of tiles, in pixels")
    question.add_argument("--images", type=int, default=256, help="number of small images, of 101x101 pixels")
    question.add_argument("--batch", type=int, default=32, help="small images per batch")

    question = ask(exported, "images/s of exported files, such as those of lower precision", 9)
    question.add_argument("--files", type=Path, nargs="+", required=True, help="files for 8-bit grey images")
    question.add_argument("--sides", type=int, nargs="+", default=[101, 512], help="sides of the images, in pixels")

    question = ask(serve, "images/s of `unetkit serve` beside plain ONNX Runtime, and how long answers take", 5)
    question.add_argument("--file", type=Path, required=True, help="an ONNX file for 8-bit grey images")
    question.add_argument("--requests", type=int, default=200, help="images per round")
    question.add_argument("--concurrent", type=int, default=16, help="requests at a time")
    question.add_argument("--sides", type=int, nargs="+", default=[101, 512], help="sides of the images, in pixels")

    question = ask(quality, "images and seconds of training until scores on TGS Salt are exceeded", 1)
    question.add_argument("--data", type=Path, required=True, help="TGS Salt as downloaded")
    question.add_argument("--ours", nargs="*", default=["experiment=tgs_quick"], help="overrides of train.py")
    about = "Kaggle's scores to exceed; 0.549 is U_net_recreation's"
    question.add_argument("--targets", type=float, nargs="+", default=[RECREATION_SCORE], help=about)
    question.add_argument("--tta", choices=["none", "flip"], default="none", help="views that are averaged")
    question.add_argument("--seed", type=int, default=47, help="seed of the first round")

    question = ask(startup, "seconds of train.py until its help, its configuration and its first step", 5)
    question.add_argument("--ours", nargs="*", default=[], help="overrides of train.py")

    question = questions.add_parser(
        "networks", help="a table of the networks of conf/model, continued where it stopped"
    )
    question.set_defaults(run=networks)
    question.add_argument("--models", nargs="+", default=every_network(), help="default: all")
    question.add_argument("--epochs", type=int, default=12, help="epochs of training on data=synthetic")
    question.add_argument("--count", type=int, default=500, help="synthetic images, a fifth of them for validation")
    question.add_argument("--rounds", type=int, default=5, help="paired rounds, of which the median is shown")
    question.add_argument("--output", type=Path, default=Path("benchmark"), help="folder of networks.md, networks.json")

    arguments = vars(parser.parse_args())
    name, run = arguments.pop("question"), arguments.pop("run")
    with mistakes_in_one_line():
        if run is networks:
            networks(**arguments)
        else:
            publish(name, run, **arguments)


if __name__ == "__main__":
    main()
