"""Run a command of `unetkit`, or list the commands, without importing Hydra or torch for that."""

import sys
from importlib import import_module
from io import TextIOWrapper

from unetkit.cli.completion import command_to_ask, is_completion

# Name of the command: the module in this package, and what it does.
COMMANDS = {
    "train": ("train", "train a network on images and masks"),
    "predict": ("predict", "write the masks of images"),
    "evaluate": ("evaluate", "score trained networks, with intervals, figures and a report"),
    "compare": ("compare", "compare runs image by image, from their scores"),
    "tune": ("tune", "search for the best settings of a training"),
    "cross-validate": ("cross_validate", "train and score a network for each fold"),
    "doctor": ("doctor", "check images and masks before training, and propose a configuration"),
    "find-lr": ("find_lr", "find a learning rate by a range test"),
    "find-batch-size": ("find_batch_size", "find the largest batch that fits into memory"),
    "export": ("export", "write a network as ONNX or torch.export, or a checkpoint without training state"),
    "push": ("push", "publish a checkpoint on the Hugging Face Hub"),
    "dashboard": ("dashboard", "prepare a workspace and a report of W&B"),
    "serve": ("serve", "serve an exported network over HTTP"),
    "demo": ("demo", "serve a web page to try checkpoints on images"),
    "import": ("import_checkpoint", "convert a checkpoint of another project"),
    "draw": ("draw", "draw a network as the classic U"),
    "prepare-tgs": ("prepare_tgs", "download TGS Salt from Kaggle"),
}


def main() -> None:
    """Run the command that was typed."""
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what a terminal can't show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    typed = sys.argv[1:]
    if is_completion(typed):
        typed = command_to_ask(typed, list(COMMANDS))
    if not typed or typed[0] in ("--help", "-h"):
        sys.stdout.write(overview())
    elif typed[0] not in COMMANDS:
        sys.exit(f"error: {unknown(typed[0])}")
    else:
        run(typed[0], typed[1:])


def overview() -> str:
    """Return what `unetkit` alone shows: the commands, each with what it does."""
    lines = [f"  {name:<16}{does}" for name, (_, does) in COMMANDS.items()]
    return "\n".join(
        [
            "unetkit COMMAND [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "unetkit COMMAND --help explains the keys of a command.",
            "unetkit COMMAND --config-dir DIR adds your own configuration files, such as DIR/experiment/mine.yaml.",
            'eval "$(unetkit -sc install=bash)" completes commands and keys in bash.',
            "",
        ]
    )


def unknown(command: str) -> str:
    """Return what to say about a word that is not a command."""
    from difflib import get_close_matches

    closest = get_close_matches(command, COMMANDS, 1)
    fix = f"did you mean {closest[0]}?" if closest else f"it must be one of {', '.join(COMMANDS)}"
    return f"{command} is not a command of unetkit; {fix}"


def run(command: str, arguments: list[str]) -> None:
    """Run a command in this process, as if its module had been started with these arguments."""
    module = import_module(f"unetkit.cli.{COMMANDS[command][0]}")
    sys.argv[1:] = arguments
    # For Lightning, which starts the other processes of DDP as this program with `sys.argv`: python -m MODULE.
    sys.modules["__main__"].__spec__ = module.__spec__
    module.run()
