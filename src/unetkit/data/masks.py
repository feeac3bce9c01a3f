"""Mask files of users: reading one as class indices."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.decode import decode_layers, decode_palette_indices, read_content, read_layers
from unetkit.data.drawn import DrawnMask, LabelMask, OutlinedMask
from unetkit.data.files import FileRef
from unetkit.data.jpeg import FLAT, flat_counts, flat_levels, is_jpeg, lossy_kind
from unetkit.data.layers import Layers
from unetkit.data.mask_advice import advice_on_jpeg, advice_on_values
from unetkit.data.mask_encoding import MOST_LABELS, MaskEncoding, pack
from unetkit.data.objects import Numbers, classes_of_objects, number_objects
from unetkit.data.pair import Pair
from unetkit.data.rle import decode_rle
from unetkit.data.types import VOID
from unetkit.data.volumes import VolumeRef, read_mask_for_training, read_volume
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError
from unetkit.paths import quoted_for_hydra

SAMPLED = 200  # about the largest number of masks that are read for the text of an error


def read_mask(
    pair: Pair, shape: tuple[int, ...], encoding: MaskEncoding, others: Sequence[Pair] = ()
) -> NDArray[np.uint8]:
    """Read the mask (H, W) of class indices, `VOID` where void; of multi-label masks, the sum of 2^k over labels k.

    A palette PNG is read as its indices, unless the palette is grey. Each pixel of a JPEG mask, whose values are
    blurred, is read as the nearest known value; a flat area of another value is refused, as blur does not explain it.

    Args:
        pair: The pair whose mask is read, from the file or else from the run-length code.
        shape: (H, W) of the image, or (D, H, W) of a volume.
        encoding: The meaning of the values in the file.
        others: Pairs whose masks are read for the text of an error, so that it lists the values of many masks.

    Raises:
        UserError: If the mask holds other values, has another shape than the image, or contradicts its run-length code.
    """
    if pair.mask is None:
        return _decode_rle_of(pair, shape)
    if isinstance(pair.mask, OutlinedMask):
        _check_classes(pair.mask, encoding)
        return pair.mask.draw(*shape)
    if isinstance(pair.mask, LabelMask):
        return _read_labels(pair, pair.mask, shape, encoding, others)
    if encoding.instances:
        return classes_of_objects(read_objects(pair, shape, encoding), encoding.instances)
    if encoding.labels:
        return _read_planes(pair.mask, shape, encoding)
    if isinstance(pair.mask, VolumeRef):
        assert isinstance(pair.image, VolumeRef)  # as `volume_pairs` makes them
        values, is_colour = read_mask_for_training(pair.mask, pair.image), False
    else:
        values, is_colour = mask_values(pair.mask, encoding.is_colour, shape)
    _check_shape(pair.mask, values.shape, shape)
    if is_jpeg(pair.mask):
        _check_jpeg(pair, values, is_colour, encoding, others)
        values = encoding.nearest(values)
    indices = encoding.indices(values) if is_colour == encoding.is_colour else None
    if indices is None:
        raise advice_on_values(pair.mask, values, is_colour, encoding, _values_of(pair, others, is_colour, encoding))
    if pair.rle is not None and (_decode_rle_of(pair, shape) != indices).any():
        problem = f"and the run-length code of {pair.id} in train.csv differ"
        raise UserError(str(pair.mask), problem, "remove the wrong one")
    return indices


def read_objects(pair: Pair, shape: tuple[int, ...], encoding: MaskEncoding) -> Numbers:
    """Read the number of the object of each pixel (H, W), 0 for the background, -1 where void.

    A mask of colours has an object for each colour; black is the background.

    Raises:
        UserError: If there is no mask file, or it has another shape than the image, or holds no numbers.
    """
    if pair.mask is None or isinstance(pair.mask, OutlinedMask | LabelMask | VolumeRef):
        raise UserError(str(pair.mask or pair.id), "does not number objects", "leave out data.instances")
    values, _ = mask_values(pair.mask, False, shape)
    _check_shape(pair.mask, values.shape, shape)
    if is_jpeg(pair.mask):
        problem = f"is a {lossy_kind(pair.mask)}, which blurs the numbers of objects"
        raise UserError(str(pair.mask), problem, "save masks as PNG or TIFF")
    return number_objects(pair.mask, values, encoding.void)


def _check_shape(mask: FileRef | DrawnMask, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise a `UserError` unless a mask has the size of its image."""
    found = found[: len(shape)]
    if found != shape:
        fix = "was a camera's orientation applied to one of the two?" if found == shape[::-1] else ""
        problem = f"is {found[0]}x{found[1]}, its image {shape[0]}x{shape[1]}"
        raise UserError(str(mask), problem, fix)


def _read_labels(
    pair: Pair, mask: LabelMask, shape: tuple[int, ...], encoding: MaskEncoding, others: Sequence[Pair]
) -> NDArray[np.uint8]:
    """Read the binary mask of each label as a bit; a pixel that is void for one label is void."""
    bits, is_void = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for label, own in enumerate(mask.masks):
        alike = [replace(other, mask=other.mask.masks[label]) for other in others if isinstance(other.mask, LabelMask)]
        indices = read_mask(replace(pair, mask=own), shape, MaskEncoding(void=encoding.void), alike)
        is_void |= indices == VOID
        bits |= np.uint8(1 << label) * (indices == 1)
    return np.where(is_void, np.uint8(VOID), bits)


def _read_planes(mask: FileRef | DrawnMask, shape: tuple[int, ...], encoding: MaskEncoding) -> NDArray[np.uint8]:
    """Read a multi-label mask of one file: bit planes of one channel, or a channel for each label.

    Raises:
        UserError: If it can't be read, has another size, or holds more labels than the encoding.
    """
    if isinstance(mask, DrawnMask):
        raise UserError(str(mask), "holds no masks of several labels", "set data.labels=classes")
    values = read_layers(mask).pixels
    _check_shape(mask, values.shape, shape)
    if is_jpeg(mask):
        raise UserError(str(mask), f"is a {lossy_kind(mask)}, which blurs values", "save masks as PNG")
    if values.ndim == 3 and values.shape[2] == encoding.labels > 1 and (values != values[..., :1]).any():
        weights = np.uint8(1) << np.arange(encoding.labels, dtype=np.uint8)
        bits = ((values > 0) * weights).sum(2, dtype=np.uint8)
        is_void = (values == encoding.void).any(2) if encoding.void is not None else np.zeros(shape, np.bool_)
        return np.where(is_void, np.uint8(VOID), bits)
    flat = values if values.ndim == 2 else values[..., 0]
    indices = encoding.indices(flat) if values.ndim == 2 or not (values != values[..., :1]).any() else None
    if indices is None:
        held = f"{values.shape[2]} channels" if values.ndim == 3 else f"values up to {values.max()}"
        problem = (
            f"holds {held}, but {encoding.labels} labels are bit planes of 0 to {2**encoding.labels - 1}, or channels"
        )
        fix = f"name all labels in data.class_names, at most {MOST_LABELS}; a value of void pixels is data.ignore_index"
        raise UserError(str(mask), problem, fix)
    return indices


def mask_values(mask: FileRef | DrawnMask, as_colour: bool, shape: tuple[int, ...]) -> tuple[NDArray[Any], bool]:
    """Return the values (H, W) of a mask as `file_values` does; one that is drawn is drawn at this shape.

    Raises:
        UserError: If it can't be read or drawn.
    """
    return (mask.draw(*shape), False) if isinstance(mask, DrawnMask) else file_values(mask, as_colour)


def _check_classes(mask: OutlinedMask, encoding: MaskEncoding) -> None:
    """Raise a `UserError` that gives the keys to type unless the classes of an annotation file fit the encoding."""
    names = mask.class_names
    if encoding.is_colour or max(encoding.num_classes, 2) != len(names):
        shown = ",".join(names[1:])
        keys = f"data.num_classes={len(names)} data.class_names=[{','.join(map(quoted_for_hydra, names))}]"
        problem = (
            f"has outlines of {len(names) - 1} classes ({shown}), but {max(encoding.num_classes, 2) - 1} are stated"
        )
        raise UserError(str(mask.ref), problem, f"set {keys}")


def file_values(ref: FileRef, as_colour: bool) -> tuple[NDArray[Any], bool]:
    """Return the values (H, W) in a mask file, and whether they are colours (0xRRGGBB).

    Args:
        ref: The file.
        as_colour: Whether palettes and grey levels are read as colours, too.

    Raises:
        UserError: If the file can't be read, or holds neither one channel nor an 8-bit RGB image.
    """
    if isinstance(ref, VolumeRef):
        return read_volume(ref).values[..., 0], False
    if ref.page is not None or ref.suffix == ZARR:
        layers = read_layers(ref)
    else:
        content = read_content(ref)
        indices = None if as_colour else decode_palette_indices(content, ref)
        if indices is not None:
            return indices, False
        layers = decode_layers(content, ref)
    mask = _layer_of_classes(layers, ref)
    channels = 1 if mask.ndim == 2 else mask.shape[2]
    is_grey = channels == 1 or not (mask != mask[..., :1]).any()
    is_grey = is_grey or (is_jpeg(ref) and np.ptp(mask, axis=2).max() <= FLAT)  # as WebP stores colours only
    if is_grey and not as_colour:
        return (mask if mask.ndim == 2 else mask[..., 0]), False
    if channels not in (1, 3) or mask.dtype != np.uint8:
        problem = f"holds {channels} channels of {mask.dtype}"
        raise UserError(str(ref), problem, "save masks as 8-bit class values or colours")
    red, green, blue = np.moveaxis(np.broadcast_to(np.atleast_3d(mask), (*mask.shape[:2], 3)).astype(np.int32), 2, 0)
    return pack(red, green, blue), True


def _layer_of_classes(layers: Layers, ref: FileRef) -> NDArray[Any]:
    """Return the colours (H, W) or (H, W, C) of a mask, or its opacity where only this tells pixels apart.

    Raises:
        UserError: If both do: where a colour is seen in some pixels and fully transparent in others.
    """
    pixels, alpha = layers.pixels, layers.alpha
    if alpha is None:
        return pixels
    colours = pixels.reshape(*pixels.shape[:2], -1)
    is_one_colour = not (colours != colours[:1, :1]).any()
    if is_one_colour and (layers.has_varying_alpha or not alpha.any()):
        return alpha
    hidden, seen = (np.unique(colours[part], axis=0) for part in (alpha == 0, alpha > 0))
    if layers.has_varying_alpha and len(np.unique(np.concatenate([hidden, seen]), axis=0)) < len(hidden) + len(seen):
        problem = "has a colour that is transparent in some pixels and not in others: is this what marks the classes?"
        raise UserError(str(ref), problem, "save it without alpha channel, with one value or colour for each class")
    return pixels


def _check_jpeg(
    pair: Pair, values: NDArray[Any], is_colour: bool, encoding: MaskEncoding, others: Sequence[Pair]
) -> None:
    """Raise a `UserError` unless blur alone explains the values of a JPEG mask."""
    assert isinstance(pair.mask, FileRef)  # narrows the type for mypy
    kind = lossy_kind(pair.mask)
    name, known = str(pair.mask), sorted(set(encoding.known_values))
    if is_colour:
        raise UserError(name, f"is a {kind}, which blurs colours", "save masks as PNG")
    if encoding.values is None and 0 < values.max() < 128:
        raise UserError(name, f"is a {kind} whose values end at {values.max()}, not 255", "save masks as PNG")
    unknown = flat_levels(flat_counts(values), known).keys() - set(known)
    if unknown:
        raise advice_on_jpeg(pair.mask, sorted(unknown), encoding, _flat_values_of([pair, *others], encoding))
    if np.diff(known).min() < 2 * FLAT:
        near = ",".join(map(str, known))
        raise UserError(name, f"is a {kind}, which blurs values as close as {near}", "save masks as PNG")


def _values_of(pair: Pair, others: Sequence[Pair], is_colour: bool, encoding: MaskEncoding) -> list[set[int]]:
    """Return the values of each of some other masks of the same kind; masks that can't be read are left out."""
    found: list[set[int]] = []
    for other in _sampled(others):
        with suppress(UserError):
            if not isinstance(other.mask, FileRef) or other.mask == pair.mask:
                continue
            values, kind = file_values(other.mask, encoding.is_colour)
            if is_jpeg(other.mask) and not kind:
                values = encoding.nearest(values)
            found += [set(np.unique(values).tolist())] if kind == is_colour else []
    return found


def _flat_values_of(pairs: Sequence[Pair], encoding: MaskEncoding) -> list[int]:
    """Return the values of flat areas in some masks; masks that can't be read are left out."""
    counts = np.zeros(256, np.int64)
    for pair in _sampled(pairs):
        with suppress(UserError):
            values, is_colour = file_values(pair.mask, False) if isinstance(pair.mask, FileRef) else (np.zeros(0), True)
            counts += flat_counts(values) if not is_colour and values.dtype == np.uint8 else 0
    return list(flat_levels(counts, [0, 255] if encoding.void is None else [0, 255, encoding.void]))


def _sampled(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: max(len(pairs) // SAMPLED, 1)]


def _decode_rle_of(pair: Pair, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        return decode_rle(pair.rle or "", *shape)
    except UserError as error:
        raise error.about(f"the run-length code of {pair.id} in train.csv") from error
