"""Small volumes for tests: bright ellipsoids in noise, thicker along z than along y and x."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from pydicom.dataset import FileDataset, FileMetaDataset

Array = NDArray[Any]
SIZE, SPACING = (24, 32, 32), (2.5, 1.0, 1.0)  # voxels and mm along z, y, x
AFFINE = np.diag([*SPACING[::-1], 1.0])
nifti: Any = nibabel.Nifti1Image  # nibabel's constructors have no types


def ellipsoid(seed: int, size: tuple[int, int, int] = SIZE) -> tuple[Array, Array]:
    """Return an image (D, H, W) int16 and its mask uint8, of one ellipsoid that is round in mm."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) * SPACING
    extent = np.array(size) * SPACING
    centre, radius = rng.uniform(0.35, 0.65, 3) * extent, rng.uniform(0.25, 0.35) * extent[1:].min()
    mask = (np.square(places - centre).sum(-1) < radius**2).astype(np.uint8)
    image = 300.0 * mask + rng.normal(0, 60, size) - 100
    return image.astype(np.int16), mask


def write_nifti(path: Path, volume: Array, affine: Array = AFFINE) -> Path:
    """Write a volume (D, H, W), whose rows run towards the back of the patient, as NIfTI; gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti(np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0)), affine).to_filename(path)
    return path


def write_ellipsoids(root: Path, count: int, size: tuple[int, int, int] = SIZE) -> Path:
    """Write pairs in nnU-Net's layout; gives the folder."""
    for seed in range(count):
        image, mask = ellipsoid(seed, size)
        write_nifti(root / "imagesTr" / f"case_{seed:02}_0000.nii.gz", image)
        write_nifti(root / "labelsTr" / f"case_{seed:02}.nii.gz", mask)
    return root


def write_stack(path: Path, volume: Array, description: str, pixels_per_unit: float) -> Path:
    """Write a volume (D, H, W) as the pages of a TIFF with a description and a resolution; gives the path."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[282], tags[283] = description, pixels_per_unit, pixels_per_unit
    first, *rest = map(Image.fromarray, volume)
    first.save(path, save_all=True, append_images=rest, tiffinfo=tags)
    return path


def write_dicom(path: Path, pixels: Array, **tags: Any) -> Path:
    """Write an image (H, W), or frames (N, H, W), as DICOM, with further tags by their names; gives the path."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
