"""Image files as arrays of bytes, with errors that name the file."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from research.data.storage.folders import together
from research.errors import UsageError

Result = TypeVar("Result")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Pillow knows some that it has other programs decode, and would take any file for one, whatever its name.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_GREY = ("1", "L")
_COLOUR = ("RGB", "P", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = range(5, 9)  # orientations that exchange height and width


def shape(path: Path) -> tuple[int, int, int]:
    """Return the shape [h, w, c] of an image as `decode` gives it; reads the header alone.

    Raises:
        UsageError: the file cannot be read, its header is damaged, or its pixels are not 8 bits without alpha.
    """
    with _opened(path) as image:
        w, h = image.size
        if _orientation(image) in _SIDEWAYS:
            h, w = w, h
        return h, w, _channels(image, path)


def decode(path: Path) -> np.ndarray:
    """Return an image, uint8 [h, w, c]: c is 1 for shades of grey and 3 for colours, of which palettes are some.

    It stands as its EXIF orientation says; of several frames the first is returned.

    Raises:
        UsageError: as `shape`, or the pixels are damaged.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        mode = "L" if _channels(image, path) == 1 else "RGB"
        upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
        pixels = np.asarray(upright.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def read_all(paths: Iterable[Path], read: Callable[[Path], Result]) -> Iterator[Result]:
    """Yield what `read` makes of every file. Raises `UsageError` at the end with a line for each that is refused."""
    refused = []
    for path in paths:
        try:
            yield read(path)
        except UsageError as error:
            refused.append(str(error))
    if refused:
        raise UsageError(together(refused, "images"))


def square(image: np.ndarray, side: int) -> np.ndarray:
    """Return the centre square of an image, uint8 [h, w, c], scaled to [side, side, c]: bilinear, antialiased."""
    from PIL import Image

    h, w, c = image.shape
    short = min(h, w)
    top, left = (h - short) / 2, (w - short) / 2
    # Pillow's bilinear filter is as wide as the source pixels that make up one of the result, which is antialiasing.
    box = (left, top, left + short, top + short)
    # One channel at a time: Pillow knows one, three and four, and weights the colours of four by the last.
    scaled = (Image.fromarray(image[..., i]).resize((side, side), Image.Resampling.BILINEAR, box) for i in range(c))
    return np.stack([np.asarray(channel) for channel in scaled], axis=-1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image whose pixels are not read yet, and name the file where that or anything done with it fails."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except UsageError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise UsageError(f"{path} is damaged, or is not an image; replace or remove it") from error


def _channels(image: Any, path: Path) -> int:
    """Return 1 for shades of grey and 3 for colours."""
    if image.has_transparency_data:
        raise UsageError(f"{path} has transparent pixels; convert it to an image without alpha channel")
    # Pillow narrows colours of 16 bits while it decodes; only the decoder's arguments say so.
    if image.mode[0] in "IF" or re.search(";16[BLN]", str(image.tile)):
        raise UsageError(f"{path} has more than 8 bits a channel; convert it to 8 bits")
    if image.mode not in _GREY + _COLOUR:
        raise UsageError(f'{path} is of the kind "{image.mode}"; convert it to 8-bit grey or RGB')
    return 1 if image.mode in _GREY else 3


def _orientation(image: Any) -> int:
    """Return the EXIF orientation, 1 where there is nothing to turn."""
    # Pillow turns TIFF by itself. To look for EXIF behind the pixels of a PNG it would read them.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    return image.getexif().get(_ORIENTATION, 1)
