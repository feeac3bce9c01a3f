"""Turn an error of Hydra into one line that names what was typed and what was probably meant."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from unetkit.errors import UserError
from unetkit.paths import config_dir
from unetkit.training.renamed import REMOVED

CHOICES_SHOWN = 3
AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^=']+)=(.*)'")


def explain(error: HydraException) -> UserError:
    """Return the error about a missing configuration file, an unknown key or an argument that can't be parsed."""
    reason = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return missing_file(error.missing_cfg_file, list(error.options or []))
    if isinstance(reason, ConfigAttributeError | ConfigKeyError) and reason.full_key and reason.parent_node is not None:
        keys = dotted_keys(OmegaConf.to_container(reason.parent_node._get_root(), resolve=False))
        return unknown_key(reason.full_key, list(keys))
    if isinstance(error, OverrideParseException):
        return UserError(str(error.override), "can't be read", "write KEY=VALUE, and 'KEY=A B' where there is a space")
    if ambiguous := AMBIGUOUS.search(str(error)):
        key, values = ambiguous.groups()
        fix = f"write {key}=[{values}] for a list, or add -m to run once for each"
        return UserError(f"{key}={values}", "holds several values", fix)
    return UserError("the configuration", f"can't be composed: {' '.join(str(error).split())}")


def missing_file(file: str, options: list[str]) -> UserError:
    """Return the error for a missing file, such as `model/unet_smal`, of a group with these options."""
    group, _, name = file.rpartition("/")
    if instead := REMOVED.get(f"{group}={name}"):
        return UserError(f"{group}={name}", "was removed", f"use {instead}")
    nearest_first = dict.fromkeys(get_close_matches(name, options) + options)
    # Hydra gives no options for one file of several, as in callbacks=[ema,erly].
    known = f"it may be {', '.join(nearest_first)}" if options else "--help lists what exists"
    return UserError(f"{group or '--config-name'}={name}", "does not exist", known)


def unknown_key(key: str, keys: list[str]) -> UserError:
    """Return the error for a key that is not one of the keys of the configuration."""
    if choices := choices_with(key):
        group = key.partition(".")[0]
        known = ", ".join(f"{group}={choice}" for choice in choices[:CHOICES_SHOWN])
        more = f" and {len(choices) - CHOICES_SHOWN} more" if len(choices) > CHOICES_SHOWN else ""
        return UserError(key, f"is a key of {known}{more} only", f"choose {group}={choices[0]} to use it")
    closest = closest_keys(key, [known for known in keys if known.startswith("hydra.") == key.startswith("hydra.")])
    fix = f"did you mean {' or '.join(closest)}?" if closest else "--help lists the keys."
    return UserError(key, "is not a key of the configuration", f"{fix} A new key takes a + before it")


def choices_with(key: str) -> list[str]:
    """Return the choices of a group, such as `folder` of `data`, whose own file sets a key, such as `data.root`."""
    group, _, name = key.partition(".")
    files = sorted((config_dir() / group).glob("*.yaml")) if name else []
    return [file.stem for file in files if name in dotted_keys(OmegaConf.to_container(OmegaConf.load(file)))]


def dotted_keys(node: object, before: str = "") -> Iterator[str]:
    """Yield the keys of nested mappings as they are typed, such as `optimizer.lr`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{before}{name}"
            yield from dotted_keys(value, f"{before}{name}.")


def closest_keys(key: str, known: Sequence[str]) -> list[str]:
    """Return up to two keys that are similar as a whole, or else in their last part."""
    whole = get_close_matches(key, known, 2)
    ends = get_close_matches(last_part(key), [last_part(name) for name in known], 2)
    return whole or list(dict.fromkeys(name for end in ends for name in known if last_part(name) == end))[:2]


def last_part(key: str) -> str:
    """Return what follows the last dot."""
    return key.rpartition(".")[2]
