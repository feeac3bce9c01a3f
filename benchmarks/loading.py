"""Question `loading`: crops of large photographs that the device's memory does not hold: how long the network waits."""

import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.answers import Answer, Row
from benchmarks.processes import accelerator, run_train
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef

SHARPNESS = 12  # pixels over which the noise of a photograph is smooth


def loading(
    rounds: int, device: torch.device, images: int, side: int, crop: int, batch: int, epochs: int, ours: list[str]
) -> Answer:
    """Train on crops of JPEG photographs of many sizes, and measure decoding and the share of waiting for data."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photographs"
        files = write_photographs(root, images, side)
        started = time.perf_counter()
        pixels = sum(read_image(FileRef(file)).size // 3 for file in files)
        decoded = time.perf_counter() - started
        for number in range(rounds):
            options = ["data=folder", f"data.root={root}", f"data.cache_dir={folder}/cache-{number}"]
            options += ["data.cache_on_device=false", f"data.crop_size={crop}", f"data.batch_size={batch}"]
            options += [f"trainer.max_epochs={epochs}", f"trainer.check_val_every_n_epoch={epochs}"]
            options += ["trainer.precision=16", f"trainer.accelerator={accelerator(device)}", "trainer.devices=1"]
            started_at = time.time()
            times, run_dir = run_train(Path(folder), [*options, f"hydra.run.dir={folder}/run-{number}", *ours])
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            rows.append(
                {
                    "overrides": " ".join(ours),
                    "images/s": summary["images_per_second"],
                    "waits for data": summary["data_wait"],
                    **{f"of it {part}": share for part, share in summary.get("data_wait_parts", {}).items()},
                    "until the first epoch, s": times[0] - started_at,
                }
            )
    speeds = f"{images / decoded:.1f} JPEG/s of about {side}x{side}, {pixels / decoded / 1e6:.0f} MPixel/s"
    return rows, [f"one thread decodes {speeds}"]


def write_photographs(root: Path, count: int, side: int) -> list[Path]:
    """Write JPEG images of up to a fifth more or less than `side`, with PNG masks, and return the images' paths."""
    rng = np.random.default_rng(0)
    files = []
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(count):
        height, width = (int(side * (1 + 0.2 * rng.uniform(-1, 1))) for _ in range(2))
        coarse = rng.integers(0, 256, (max(height // SHARPNESS, 2), max(width // SHARPNESS, 2), 3), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image = cv2.add(image, rng.integers(0, 16, image.shape, np.uint8))  # grain, as in a photograph
        files.append(root / "images" / f"{number:05}.jpg")
        cv2.imwrite(str(files[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        cv2.imwrite(str(root / "masks" / f"{number:05}.png"), (image[..., 1] > 140).astype(np.uint8) * 255)
    return files
