"""Check that the data, the network and the scores of a configuration go together."""

from collections.abc import Sequence

from omegaconf import DictConfig

from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError, check
from unetkit.evaluation.primary import Primary, check_class, check_objects
from unetkit.models import check_threshold

DEFAULT_THRESHOLD = 0.5


def check_something_to_learn(data: SegmentationDataModule, void: object) -> None:
    """Check that the masks are neither all empty nor all full of one class.

    Raises:
        UserError: If they are.
    """
    if data.is_multilabel:
        if not data.found.pixels.any():
            raise UserError(f"data={data.name}", "has no pixel of a label in any mask, so there is nothing to learn")
        return
    present = [name for name, pixels in zip(data.class_names, data.found.pixels.sum(0), strict=True) if pixels]
    if present == data.class_names[:1]:
        fix = "" if void is None else f"data.ignore_index={void} leaves out the pixels of this value"
        problem = "has no foreground pixel in any mask, so there is nothing to learn"
        raise UserError(f"data={data.name}", problem, fix)
    if len(present) == 1:
        problem = f"has {present[0]} in every pixel of every mask, so there is nothing to learn"
        raise UserError(f"data={data.name}", problem, "give the background a value of its own, as 0 in binary masks")


def check_dimensions(cfg: DictConfig, data: SegmentationDataModule) -> None:
    """Check that the network is for volumes where the data are, and for images where they are images.

    Raises:
        UserError: If not.
    """
    takes_volumes = cfg.model.get("spatial_dims", 2) == 3
    if takes_volumes and not data.has_volumes:
        problem = f"is for volumes, but data={data.name} holds images"
        raise UserError("model.spatial_dims=3", problem, "use data=volumes, or model.spatial_dims=2")
    if data.has_volumes and not takes_volumes:
        raise UserError(f"data={data.name}", "holds volumes, but the network is for images", "add model=unet_3d")


def check_classes(cfg: DictConfig, found: int, *, is_multilabel: bool = False) -> None:
    """Check that the network has the classes of the masks, and that a threshold has a use.

    Raises:
        UserError: If not.
    """
    is_binary = found <= 2 and not is_multilabel
    if cfg.model.num_classes not in ((1, 2) if is_binary else (found,)):
        wanted = "two classes, which is 1 (sigmoid) or 2 (softmax)" if is_binary else found
        raise UserError(f"model.num_classes={cfg.model.num_classes}", f"does not fit: the masks have {wanted}")
    if cfg.threshold != DEFAULT_THRESHOLD:
        check_threshold(cfg.threshold, 2 if is_multilabel else found)


def check_scores(cfg: DictConfig, data: SegmentationDataModule, primary: Primary, extra: Sequence[Primary]) -> None:
    """Check that the scores to compute can be computed of the data.

    Args:
        cfg: The whole configuration.
        data: The data.
        primary: The score that leads.
        extra: Further scores.

    Raises:
        UserError: If one of them can't.
    """
    scored = [data.class_names[k] for k in data.scored_classes]
    for key, score in (("metrics.primary", primary), *(("metrics.extra", score) for score in extra)):
        check_class(score, scored, key)
        check_objects(score, data.mask_encoding.instances is not None, key)
        if data.has_volumes:
            score.entry.check_of_volumes()
        if score.entry.is_of_objects:
            wanted = "true where objects are scored, which are whole"
            check("mirror_border", cfg.mirror_border, cfg.mirror_border, wanted)
