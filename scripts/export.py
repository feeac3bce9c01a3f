"""A network for other programs: `python scripts/export.py checkpoint=runs/.../last.ckpt output=model.onnx`."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.command_line import help_wanted, path_of, quoted_paths
from unetkit.errors import UserError, mistakes_in_one_line

USE = {
    "onnx": "python examples/onnx_python.py {file} IMAGE.png MASK.png",
    "torch": 'torch.export.load("{file}").module()(images)',
}


@hydra.main(config_path="../conf", config_name="export", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the network with normalisation, padding and sigmoid inside, and say how it compares with PyTorch."""
    with mistakes_in_one_line():
        if cfg.checkpoint is None:
            raise UserError("checkpoint= is missing; give checkpoint=FILE.ckpt and output=FILE.onnx")
        import unetkit
        from unetkit.checkpoint import read
        from unetkit.export import SIZES, export

        file = path_of("output", cfg.output)
        predictor = unetkit.load(cfg.checkpoint)
        card = read(cfg.checkpoint)["unetkit"]
        classes = card["model"]["num_classes"]
        names = card["data"].get("class_names")
        difference = export(predictor, file, cfg.format, classes=max(classes, 2), class_names=names)
        sizes = ", ".join("x".join(map(str, size)) for size in SIZES)
        print(f"compared with PyTorch at {sizes}")
        print(
            f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB), largest difference {difference:.1e}; "
            f"run it: {USE[cfg.format].format(file=file)}"
        )


if __name__ == "__main__":
    help_wanted(sys.argv, __doc__, Path(__file__).parent.parent / "conf" / "export.yaml")
    sys.argv = quoted_paths(sys.argv)
    main()
