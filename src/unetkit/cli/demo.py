"""Serve a web page to try checkpoints on images: `unetkit demo checkpoint=runs/.../last.ckpt`."""

import os
import threading
from contextlib import suppress

import hydra
from omegaconf import DictConfig, ListConfig

from unetkit.cli.listening import check_port, interrupt_on_signals, warn_of_others
from unetkit.cli.start import start
from unetkit.errors import UserError, check, is_whole, mistakes_in_one_line
from unetkit.paths import config_dir


@hydra.main(config_path=str(config_dir()), config_name="demo", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Serve the page on this machine until Ctrl-C."""
    with mistakes_in_one_line():
        check_keys(cfg)
        serve(cfg)


def check_keys(cfg: DictConfig) -> None:
    """Check what the page needs, before torch is imported.

    Raises:
        UserError: If there is no checkpoint, or a number is out of range.
    """
    if not cfg.checkpoint:
        fix = "give checkpoint=FILE.ckpt, or two as 'checkpoint=[A.ckpt,B.ckpt]'"
        raise UserError("checkpoint=", "is missing", fix)
    for key in ("max_upload_mib", "max_pixels"):
        check(key, cfg[key], is_whole(cfg[key], 1), "a whole number above 0")
    check_port(cfg.port)


def serve(cfg: DictConfig) -> None:
    """Load what the page shows, then serve it."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(cfg.max_pixels)  # read once, when cv2 is imported

    from unetkit import demo

    paths = cfg.checkpoint if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    models = [demo.DemoModel.load(str(path), cfg.device) for path in paths]
    preprocessing = models[0].predictor.preprocessing
    if cfg.examples is None:
        examples = demo.synthetic_examples(preprocessing)
    else:
        examples = demo.folder_examples(cfg.examples, preprocessing, cfg.max_pixels)
    warn_of_others(cfg.host, "the page")
    interrupt_on_signals()  # so that the uploads are deleted
    with (
        suppress(KeyboardInterrupt),
        demo.served(models, examples, cfg.max_pixels, cfg.max_upload_mib, cfg.host, cfg.port) as url,
    ):
        print(f"open {url} in a browser; Ctrl-C stops the page", flush=True)
        never = threading.Event()
        while not never.wait(1):  # with a limit, or Ctrl-C would not end it on Windows
            pass
    print("stopped, and deleted what was uploaded")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "demo")
