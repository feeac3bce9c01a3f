"""Any of our networks as the classic U: `python scripts/draw.py model=unet_paper size=572 output=unet_paper.svg`."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import path_of


@hydra.main(config_path="../conf", config_name="draw", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the drawing as SVG."""
    with mistakes_in_one_line():
        from unetkit.paths import whole_file
        from unetkit.plots.network import draw_u

        try:
            network = instantiate(cfg.model, _convert_="all")
        except InstantiationException as error:
            raise UserError(str(error.__cause__)) from error
        file = path_of("output", cfg.output)
        if file.suffix.lower() != ".svg":
            raise UserError(f"output={file} must end in .svg: the drawing is one")
        drawing = draw_u(network, cfg.size, HydraConfig.get().runtime.choices["model"])
        with writable("output", file), whole_file(file) as part:
            part.write_text(drawing, encoding="utf-8")
        print(f"wrote {file}; open it in a browser")


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "draw.yaml")
