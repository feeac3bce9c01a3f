"""Turn what libraries raise about a wrong value of the configuration into one line that names the key."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from unetkit.errors import FULL, UserError

REFUSALS = (ValueError, TypeError, ImportError, MisconfigurationException)  # what constructors raise for wrong values


@contextmanager
def library_mistakes() -> Iterator[None]:
    """Raise a `UserError` where a library refuses a value when it is given to a constructor."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        if not isinstance(cause, REFUSALS):
            raise
        raise _refusal(error, cause) from error
    except MisconfigurationException as error:
        raise UserError(typed("trainer"), f"is refused: {_one_line(error)}") from error


def _refusal(error: InstantiationException, cause: BaseException) -> UserError:
    place = re.search(r"full_key: (\S+)", str(error))  # only the trainer is instantiated without its key
    unknown = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(cause))
    if place and unknown:
        key = f"{place[1]}.{unknown[2]}"
        problem = f"is set, perhaps by the experiment, but {unknown[1]} has no such option"
        return UserError(key, problem, f"type ~{key} as well")
    return UserError(typed(place[1] if place else "trainer"), f"is refused: {_one_line(cause)}")


@contextmanager
def training_mistakes(cfg: DictConfig) -> Iterator[None]:
    """Raise a `UserError` where training fails because of the configuration or the machine, not because of a bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        problem = f"can't be written ({error.strerror})"
        raise UserError(f"run_dir={cfg.run_dir}", problem, "make room, or give another place") from error
    except MisconfigurationException as error:
        raise UserError(typed("trainer"), f"is refused: {_one_line(error)}") from error
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"trainer.compile={cfg.trainer.compile}", f"fails here ({reason})", "use false") from error
    except (ValueError, RuntimeError) as error:  # the superclasses of most of the above
        reason = _one_line(error)
        if "does not have a deterministic implementation" in reason:
            fix = "use trainer.deterministic=warn"
            raise UserError("trainer.deterministic=true", f"fails: {reason.split('.')[0]}", fix) from error
        if isinstance(error, UserError) or not re.search("val_check_interval|Early stopping conditioned on", reason):
            raise
        raise UserError(typed("trainer" if "val_check" in reason else "callbacks"), f"fails: {reason}") from error


def typed(key: str) -> str:
    """Return what was typed for this key and the keys below it, or the key if nothing was."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    found = [override for override in overrides if re.match(rf"\+*{re.escape(key)}[.=]", override)]
    return " ".join(found) or key


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
