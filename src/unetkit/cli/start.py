"""Start a command that Hydra configures: show its help, quote what was typed, report mistakes in one line."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import unwrap
from pathlib import Path
from traceback import walk_tb

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from unetkit.cli.old_names import with_new_names
from unetkit.cli.quoting import gathered, options_first, quoted_paths
from unetkit.errors import mistakes_in_one_line
from unetkit.paths import config_dir, new_folder, typed_here
from unetkit.training.explain import explain


def start(
    main: Callable[[], object],
    about: str | None = None,
    config: str | None = None,
    *,
    lists: Sequence[str] = (),
    bare: str = "",
) -> None:
    """Run a Hydra program on what was typed; end with one line if what was typed holds a mistake.

    Args:
        main: The function that `hydra.main` decorates.
        about: Docstring of the command. With `config`, it is what `--help` shows; without, Hydra shows its own help.
        config: Name of the command's file in `conf/`. What follows its first empty line explains the keys in the help.
        lists: See `gathered`.
        bare: See `gathered`.
    """
    if config and {"--help", "-h"} & set(sys.argv):
        sys.stdout.write(f"{about}\n\n{explained_keys(config)}")
        return
    with mistakes_in_one_line():
        sys.argv = options_first(quoted_paths(gathered(with_new_names(sys.argv), lists, bare)))
    sys.path.append(str(Path.cwd()))  # a network or loss of the user's own, found where they work
    logging.raiseExceptions = False  # or each line of a log on a full disk would show a stack trace
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints its errors itself, and ends
    # Hydra itself would let two runs of one second write to one folder. Cached, so that a run or sweep has one folder.
    OmegaConf.register_new_resolver("new_folder", lambda path: str(new_folder(path)), replace=True, use_cache=True)
    with typed_here(), hydra_errors_in_one_line(main):
        main()


@contextmanager
def hydra_errors_in_one_line(main: Callable[[], object]) -> Iterator[None]:
    """End the program with one line if Hydra can't compose what was typed, or can't write the run directory."""
    try:
        yield
    except InstantiationException:  # a fault in the program
        raise
    except HydraException as error:
        sys.exit(f"error: {explain(error)}")
    except InterpolationResolutionError as error:
        place = error.full_key or "the configuration"  # OmegaConf does not always know the key
        sys.exit(f"error: {place} can't be resolved ({str(error).splitlines()[0]}); give a value")
    except BrokenPipeError:  # as in `unetkit train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        sys.exit(1)
    except OSError as error:
        if unwrap(main).__code__ in {frame.f_code for frame, _ in walk_tb(error.__traceback__)}:
            raise
        sys.exit(f"error: hydra.run.dir can't be written ({error}); give another")  # Hydra writes it before main runs


def explained_keys(config: str) -> str:
    """Return the keys of a command, with the comments that explain them."""
    text = (config_dir() / f"{config}.yaml").read_text(encoding="utf-8")
    return text.partition("\n\n")[2]
