"""Masks for images: `python scripts/predict.py checkpoint=runs/.../last.ckpt input=FILE_OR_FOLDER`."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from unetkit.errors import UserError, mistakes_in_one_line


@hydra.main(config_path="../conf", config_name="predict", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write a mask and an overlay for each image; files that can't be read are named at the end."""
    with mistakes_in_one_line():
        failed = predict_all(cfg)
    for line in failed:
        print(f"left out: {line}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def predict_all(cfg: DictConfig) -> list[str]:
    """Predict every image and give the errors of those that could not be."""
    import torch

    import unetkit
    from unetkit.data.files import find_images, read_image
    from unetkit.pictures import overlay, write_png

    for key in ("checkpoint", "input"):
        if cfg[key] is None:
            raise UserError(f"{key}= is missing; give checkpoint=FILE.ckpt and input=FILE_OR_FOLDER")
    if str(cfg.device).partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"device={cfg.device} must be auto, cpu, cuda (or cuda:1, ...) or mps")
    if str(cfg.device).startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={cfg.device}, but torch sees no CUDA device; use device=cpu")
    device = cfg.device if cfg.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    predictor = unetkit.load(cfg.checkpoint, device, flip=cfg.flip)
    images = find_images(Path(cfg.input).expanduser())
    output = Path(cfg.output)
    failed = []
    for ref in tqdm(images, unit="image", disable=len(images) < 2):
        try:
            image = read_image(ref)
            prediction = predictor(image)
        except UserError as error:
            failed.append(f"{ref}: {error}")
            continue
        prepared = predictor.preprocessing.to_uint8(image)
        scale = 255 if prediction.probability.ndim == 2 else 1
        write_png(output / "masks" / f"{ref.name.stem}.png", prediction.mask * scale)
        write_png(output / "overlays" / f"{ref.name.stem}.png", overlay(prepared, prediction.mask))
    print(f"wrote {len(images) - len(failed)} masks to {output}/masks, overlays to {output}/overlays")
    return failed


if __name__ == "__main__":
    main()
