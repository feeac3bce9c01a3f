"""A web page to try checkpoints on images: `python scripts/demo.py checkpoint=runs/.../last.ckpt`."""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import hydra
from omegaconf import DictConfig, ListConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, mistakes_in_one_line


@hydra.main(config_path="../conf", config_name="demo", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Serve the page on this machine until Ctrl-C."""
    with mistakes_in_one_line():
        serve(cfg)


def serve(cfg: DictConfig) -> None:
    """Load what the page shows, then serve it."""
    if not cfg.checkpoint:
        raise UserError("checkpoint= is missing; give checkpoint=FILE.ckpt, or two as 'checkpoint=[A.ckpt,B.ckpt]'")
    for key in ("port", "max_upload_mib", "max_pixels"):
        if not isinstance(cfg[key], int) or cfg[key] < 1 or (key == "port" and cfg.port > 65535):
            raise UserError(f"{key}={cfg[key]} must be a whole number above 0" + " and below 65536" * (key == "port"))
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(cfg.max_pixels)  # read once, when cv2 is imported

    from unetkit import demo

    paths = cfg.checkpoint if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    models = [demo.Model.load(str(path), cfg.device) for path in paths]
    preprocessing = models[0].predictor.preprocessing
    if cfg.examples is None:
        examples = demo.synthetic_examples(preprocessing)
    else:
        examples = demo.folder_examples(cfg.examples, preprocessing, cfg.max_pixels)
    if not demo.is_loopback(cfg.host):
        print(f"warning: host={cfg.host}: whoever reaches this machine can use the page", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):  # each ends it in order, and deletes the uploads
        signal.signal(number, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        demo.served(models, examples, cfg.max_pixels, cfg.max_upload_mib, cfg.host, cfg.port) as url,
    ):
        print(f"open {url} in a browser; Ctrl-C stops the page", flush=True)
        never = threading.Event()
        while not never.wait(1):  # without limit, Ctrl-C would not end it on Windows
            pass
    print("stopped, and deleted what was uploaded")


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "demo.yaml")
