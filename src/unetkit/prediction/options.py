"""What to write for the images that are predicted, and checks that this is possible."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from unetkit.data.files import MEDICAL_SUFFIXES, SEGY_SUFFIXES, FileRef
from unetkit.data.segy import check_header_bytes
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError
from unetkit.paths import real_path, whole_file
from unetkit.prediction.objects import check_can_split

KINDS = ("masks", "probabilities", "overlays")
MASK_FORMATS = {"png": ".png", "palette": ".png", "tif": ".tif", "cog": ".tif", "npy": ".npy"}  # with the ends of files
AUTO, NIFTI = "auto", ".nii.gz"
VOLUME_FORMATS = (NIFTI, *SEGY_SUFFIXES)  # further ends of the mask of a volume


@dataclass(frozen=True)
class OutputOptions:
    """What to write for each predicted image, and how.

    Attributes:
        output: The folder that gets a folder for each of `write`; or the file of one image's mask, if `is_file`.
        write: Some of `masks`, `probabilities`, `overlays`.
        mask_format: `auto`, NIfTI for NIfTI and DICOM images and PNG for others; `png`; `palette`, a PNG of class
            indices that viewers show in colours; `tif`, which lies where a GeoTIFF lies; `cog`, a cloud-optimised
            GeoTIFF; or `npy`, which is written row by row.
        submission: Path of Kaggle's CSV with all masks, or None.
        batch_size: Largest number of small images of one size that are predicted at once.
        value_range: Values of 16-bit and float images that become 0 and 255; `auto` finds them for each file
            (see `amplitude_range`); None takes those used in training.
        segy_bytes: First bytes, from 1, of the inline and the crossline number in a SEG-Y trace header.
        is_file: Whether `output` is a file; then `write` has one member.
        instances: Whether objects are numbered, as 16-bit images in the folder `instances`.
        stacks: Whether TIFF and .npy files are stacks, of which each page is an image.
    """

    output: Path
    write: Sequence[str] = ("masks", "overlays")
    mask_format: str = AUTO
    submission: Path | None = None
    batch_size: int = 32
    value_range: tuple[float, float] | str | None = None
    segy_bytes: tuple[int, int] = (189, 193)
    is_file: bool = False
    stacks: bool = False
    instances: bool = False

    def gives_nifti(self, ref: FileRef) -> bool:
        """Return whether the masks of a file's slices become one NIfTI file."""
        return "masks" in self.write and self.mask_format in (AUTO, NIFTI[1:]) and ref.suffix in MEDICAL_SUFFIXES

    def create_file(self, files: ExitStack, kind: str, name: str) -> Path:
        """Return a path to write to, which becomes the file `kind`/`name` when `files` closes without an error."""
        if self.is_file:
            return files.enter_context(whole_file(self.output))
        return files.enter_context(whole_file(self.output / kind / name))

    def check(
        self, refs: Sequence[FileRef], classes: int, labels: Sequence[str] = (), *, has_volumes: bool = False
    ) -> None:
        """Check that these files and a network of this many classes allow what is asked for.

        Raises:
            UserError: If they don't.
        """
        self._check_nothing_is_replaced(refs)
        if self.mask_format == "cog" and find_spec("rasterio") is None:
            raise UserError("mask_format=cog", "needs rasterio", 'pip install "unetkit[geo]"')
        if self.instances:
            self._check_instances(refs, classes, labels)
        segy = [ref for ref in refs if is_segy(ref)]
        if labels and (self.is_file or self.submission is not None or segy):
            kept = f"output={self.output}" if self.is_file else f"submission={self.submission}"
            kept = str(segy[0]) if segy else kept
            problem = f"holds one mask, but the network predicts {len(labels)} labels that may overlap"
            raise UserError(kept, problem, "give images, and a folder: each label gets a folder of masks in it")
        if has_volumes:
            self._check_volumes(refs)
        elif self.is_file:
            self._check_one_image(refs)
        if segy:
            check_header_bytes(*self.segy_bytes)
        if self.submission is not None and segy:
            problem = "is made of images, but there are SEG-Y files"
            raise UserError(f"submission={self.submission}", problem, "leave out one of the two")
        if self.submission is not None and classes > 2:
            problem = f"can hold one kind of foreground, but the network has {classes - 1}"
            raise UserError(f"submission={self.submission}", problem, "leave it out")
        if segy and classes > 2 and "probabilities" in self.write:
            problem = f"is impossible for SEG-Y and {classes} classes: a sample holds one value"
            raise UserError("write=probabilities", problem, "leave it out")

    def _check_one_image(self, refs: Sequence[FileRef]) -> None:
        """Check that images give one file; whether slices are those of one volume is known when they are read."""
        is_nifti_file = self.mask_format == NIFTI[1:]
        if (self.mask_format not in (AUTO, *MASK_FORMATS) and not is_nifti_file) or (
            is_nifti_file and not all(self.gives_nifti(ref) for ref in refs)
        ):
            problem = "is the file of a volume's mask, but the network is for images"
            raise UserError(f"output={self.output}", problem, "give a folder, or a file that ends in .png")
        if is_segy(refs[0]) or (len(refs) > 1 and not is_nifti_file):
            given = f"{len(refs)} images" if len(refs) > 1 else "a seismic file"
            raise UserError(f"output={self.output}", f"is one file, but the input is {given}", "give a folder")

    def _check_volumes(self, refs: Sequence[FileRef]) -> None:
        """Check what is asked for of a network for volumes."""
        if self.submission is not None:
            raise UserError(f"submission={self.submission}", "is made of images, but these are volumes", "leave it out")
        if self.instances:
            raise UserError("instances=true", "is for images, but these are volumes", "leave it out")
        if self.is_file and len(refs) > 1:
            raise UserError(f"output={self.output}", f"is one file, but there are {len(refs)} volumes", "give a folder")
        if self.is_file and (ending := mask_suffix(refs[0])) != FileRef(self.output).suffix:
            raise UserError(f"output={self.output}", f"must end in {ending}, as the mask of {refs[0]} does")

    def _check_instances(self, refs: Sequence[FileRef], classes: int, labels: Sequence[str]) -> None:
        problem = ""
        if self.is_file:
            problem = f"needs a folder, and output={self.output} is one file"
        elif labels or classes > 3:
            problem = f"is for one kind of objects, and the network has {len(labels) or classes - 1}"
        elif any(is_segy(ref) or is_nifti(ref) for ref in refs):
            problem = "is for images, and there are seismic or NIfTI files"
        if problem:
            raise UserError("instances=true", problem, "leave it out")
        check_can_split("instances=true")

    def _check_nothing_is_replaced(self, refs: Sequence[FileRef]) -> None:
        output = real_path(self.output)
        if self.is_file and any(real_path(ref.path) == output for ref in refs):
            raise UserError(f"output={self.output}", "is the input, which would be replaced", "give another output")
        if any(real_path(ref.path).is_relative_to(output) for ref in refs):
            for kind in self.write:
                if (output / kind).exists():  # perhaps the true masks, or the images themselves
                    problem = f"holds the images and a folder {kind}, whose files would be replaced"
                    raise UserError(f"output={self.output}", problem, "give another output")


def mask_suffix(ref: FileRef) -> str:
    """Return the end of the file of a volume's mask, which has its format; NIfTI for a DICOM series, .npy for Zarr."""
    if ref.suffix == ZARR:
        return ".npy"
    return NIFTI if is_nifti(ref) or ref.slices else ref.suffix


def is_nifti(ref: FileRef) -> bool:
    """Return whether the suffix is that of NIfTI."""
    return ref.suffix in (".nii", NIFTI)


def is_segy(ref: FileRef) -> bool:
    """Return whether the suffix is that of SEG-Y."""
    return ref.suffix in SEGY_SUFFIXES
