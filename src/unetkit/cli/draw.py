"""Draw a network as the classic U: `unetkit draw model=unet_paper size=572 output=unet_paper.svg`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import config_dir, path_of, whole_file


@hydra.main(config_path=str(config_dir()), config_name="draw", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the drawing as SVG."""
    with mistakes_in_one_line():
        draw(cfg)


def draw(cfg: DictConfig) -> None:
    """Build the network, draw it and write the file."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from unetkit.plots.network import draw_u

    file = path_of("output", cfg.output)
    if file.suffix.lower() != ".svg":
        raise UserError(f"output={file}", "must end in .svg", "the drawing is an SVG file")
    name = HydraConfig.get().runtime.choices["model"]
    try:
        network = instantiate(cfg.model, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise UserError(f"model={name}", f"can't be built ({error.__cause__})") from error
    drawing = draw_u(network, cfg.size, name)
    with writable("output", file), whole_file(file) as part:
        part.write_text(drawing, encoding="utf-8")
    print(f"wrote {file}; open it in a browser")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "draw")
