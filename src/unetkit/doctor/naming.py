"""Which mask belongs to which image, by their names; and what would have to be renamed."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from unetkit.data.files import FileRef
from unetkit.data.sources import Pair
from unetkit.doctor.findings import Finding, Severity, of_files

ENOUGH = 0.5  # share of the lonely masks that a rule of names must explain


def common_suffix(images: set[str], names: set[str]) -> tuple[str, int]:
    """What most of the names have after the name of an image, and how many have it."""
    found = Counter(
        name[cut:] for name in names for cut in range(1, len(name)) if name[:cut] in images and not name[cut:].isdigit()
    )
    return found.most_common(1)[0] if found else ("", 0)


def mask_suffix_of(images: set[str], masks: set[str]) -> str:
    """What masks' names have after the images' where that explains them better than equal names; else nothing."""
    suffix, count = common_suffix(images, masks - images)
    return suffix if count > len(images & masks) and count >= ENOUGH * len(masks - images) else ""


def match(
    images: list[FileRef],
    masks: list[FileRef],
    suffix: str,
    codes: Mapping[str, str],
    split: str | None,
    findings: list[Finding],
) -> list[Pair]:
    """Pairs of one part of the data, images without a mask too; what is wrong with names goes to `findings`."""
    image_by_id, mask_by_id = _by_id(images, "", findings), _by_id(masks, suffix, findings)
    lonely_images = sorted(image_by_id.keys() - mask_by_id.keys() - codes.keys())
    lonely_masks = sorted(mask_by_id.keys() - image_by_id.keys())
    renamed = _rename(lonely_images, lonely_masks, findings, suffix)
    mask_by_id |= {image: mask_by_id[mask] for image, mask in renamed.items()}
    where = f" of {split}" if split else ""
    findings += of_files(
        Severity.FAULT,
        f"{{n}} image{{s}}{where} {{have}} no mask" + ("" if masks or codes else ": there are no masks at all"),
        "add masks of the same name (an all-black one where there is nothing to find), or remove the images"
        if masks or codes
        else "put a mask of the same name for each into masks/",
        (image_by_id[id].name.name for id in lonely_images if id not in renamed),
    )
    findings += of_files(
        Severity.WARNING if codes else Severity.FAULT,  # TGS Salt's reader leaves them out
        f"{{n}} mask{{s}}{where} {{have}} no image",
        "add the images, or remove the masks" + (f" (their names must end in {suffix})" if suffix else ""),
        (mask_by_id[id].name.name for id in lonely_masks if id not in renamed.values()),
    )
    prefix = f"{split}/" if split else ""
    return [Pair(prefix + id, ref, mask_by_id.get(id), codes.get(id), split) for id, ref in image_by_id.items()]


def _by_id(refs: list[FileRef], suffix: str, findings: list[Finding]) -> dict[str, FileRef]:
    files: dict[str, FileRef] = {}
    twice = []
    for ref in refs:
        if files.setdefault(ref.stem.removesuffix(suffix), ref) is not ref:
            twice.append(f"{ref.name.parent.name}/{ref.name.name}")
    findings += of_files(
        Severity.FAULT, "{n} file{s} {have} the name of another, but for the suffix", "keep one of each", twice
    )
    return files


def _rename(images: list[str], masks: list[str], findings: list[Finding], suffix: str) -> dict[str, str]:
    """Lonely masks by the lonely images that they seem to belong to, by the first rule that explains enough."""
    for rule, key in RULES.items():
        by_key = {key(mask): mask for mask in masks}
        found = {image: by_key[key(image)] for image in images if key(image) in by_key and key(image)}
        if len(found) == len(set(found.values())) and len(found) > ENOUGH * len(masks):
            image, mask = next(iter(found.items()))
            findings += of_files(
                Severity.FAULT,
                f"{{n}} mask{{s}} {{are}} named after the image{{s}}, but {rule}",
                f"rename them as their images, such as {mask}{suffix} to {image}{suffix}",
                [mask + suffix for mask in found.values()],
            )
            return found
    return {}


def _without_last_word(name: str) -> str:
    return re.sub(r"[_\-. ][^_\-. ]*$", "", name)


def _without_first_word(name: str) -> str:
    return re.sub(r"^[^_\-. ]*[_\-. ]", "", name)


def _last_number(name: str) -> str:
    numbers = re.findall(r"\d+", name)
    return str(int(numbers[-1])) if numbers else ""


RULES: dict[str, Callable[[str], str]] = {
    "in other letter case": str.lower,
    "end in another word": _without_last_word,
    "begin with another word": _without_first_word,
    "only the number is the same": _last_number,
}
