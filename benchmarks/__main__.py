"""Measurements, a subcommand for each question: `python scripts/benchmark.py step --milesial DIR`.

Contenders run in turn in paired rounds, so that a slow moment strikes all alike; medians and ratios are shown. Each
question prints a table and writes it, with the rounds and the machine, to `benchmark/QUESTION.json`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.answers import Answer, publish
from benchmarks.augment import augment
from benchmarks.composing import every_network
from benchmarks.contenders import CASES
from benchmarks.memory import memory
from benchmarks.networks import networks
from benchmarks.predict import predict
from benchmarks.step import step
from benchmarks.whole_runs import epoch, quality, startup
from unetkit.errors import mistakes_in_one_line


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


if __name__ == "__main__":
    main()
