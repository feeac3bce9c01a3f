"""Serve an exported network over HTTP: `unetkit serve file=model.onnx`."""

import os
import sys
from contextlib import suppress

import hydra
from omegaconf import DictConfig

from unetkit.cli.listening import check_port, interrupt_on_signals, warn_of_others
from unetkit.cli.start import start
from unetkit.errors import UserError, check, is_whole, mistakes_in_one_line
from unetkit.paths import config_dir, path_of

EXTRA = 'pip install "unetkit[serve]"'


@hydra.main(config_path=str(config_dir()), config_name="serve", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Serve the network until Ctrl-C."""
    with mistakes_in_one_line():
        check_keys(cfg)
        serve(cfg)


def check_keys(cfg: DictConfig) -> None:
    """Check what the service needs, before torch is imported.

    Raises:
        UserError: If there is no file, or a number is out of range.
    """
    if cfg.file is None:
        fix = "give file=FILE.onnx, which unetkit export checkpoint=RUN output=FILE.onnx writes"
        raise UserError("file=", "is missing", fix)
    for key in ("batch_size", "tile", "max_upload_mib", "max_pixels", "max_requests"):
        check(key, cfg[key], is_whole(cfg[key], 1), "a whole number above 0")
    check("threads", cfg.threads, cfg.threads is None or is_whole(cfg.threads, 1), "null or a whole number above 0")
    check("overlap", cfg.overlap, is_whole(cfg.overlap, 0), "a whole number, at least 0")
    check_port(cfg.port, least=0)


def serve(cfg: DictConfig) -> None:
    """Load the network, then serve it."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(cfg.max_pixels)  # read once, when cv2 is imported
    interrupt_on_signals()
    with suppress(KeyboardInterrupt):
        from unetkit.checkpoints.exported import read_exported

        try:
            from unetkit import serve as service
        except ImportError as error:
            raise UserError("the service", f"needs {error.name}", EXTRA) from error
        predictor = read_exported(path_of("file", cfg.file), "file", cfg.threads, cfg.tile, cfg.overlap)
        limits = service.Limits(cfg.max_upload_mib * 2**20, cfg.max_pixels, cfg.batch_size, cfg.max_requests)
        app = service.build(service.Service(path_of("file", cfg.file).name, predictor, limits))
        with service.listen(cfg.host, cfg.port) as listening:
            host, port = listening.getsockname()[:2]
            warn_of_others(cfg.host, "the service")
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            print(f"POST images to {address}/predict; {address}/docs describes it; Ctrl-C stops it", flush=True)
            service.run(app, listening)
    print("stopped", file=sys.stderr)


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "serve")
