"""The pixels of a PNG or JPEG file, upright; damaged metadata cannot prevent reading them."""

from __future__ import annotations

import io
import stat
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.Image import Transpose

from fmnist_tune.errors import UserError, near_file

FORMATS = ("PNG", "JPEG")
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
GREY, RGB, PALETTE = 0, 2, 3  # PNG colour types that may have a tRNS chunk
JFIF, EXIF, ADOBE, COMMENT, SCAN = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA  # markers of JPEG segments
APPLICATION = range(0xE0, 0xF0)
COLOUR_SEGMENTS = {JFIF: (b"JFIF\0", 14), ADOBE: (b"Adobe", 12)}  # their first bytes, and their minimum length
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # by EXIF orientation


@dataclass(frozen=True)
class _Parts:
    """The parts of an image file.

    Attributes:
        pixels: the file without its metadata.
        exif: its EXIF block; empty without one.
        transparency: a PNG's tRNS chunk; empty without one.
    """

    pixels: bytes
    exif: bytes = b""
    transparency: bytes = b""


def read_image(path: Path, *, invert: bool, mode: str = "L") -> Image.Image:
    """Return a file's image upright, in 8-bit grey (`L`) or colour (`RGB`); transparent pixels are black.

    Args:
        path: the file.
        invert: swap light and dark.
        mode: Pillow's pixel mode.

    Raises:
        UserError: it is not an image, or its pixels are damaged or too many.
    """
    parts = _take_apart(_read(path))
    if parts is None:
        raise UserError(f"{path}: not a {' or '.join(FORMATS)} image")
    image = _load(path, parts.pixels)
    alpha_HW = _alpha(image, parts)
    if image.mode == "I;16":  # Pillow would clip it instead of scaling
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if alpha_HW is not None or image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        if alpha_HW is not None:
            image.putalpha(Image.fromarray(alpha_HW))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white" if invert else "black"), image)
    image = image.convert(mode)
    turn = _turn(parts.exif)
    if turn is not None:
        image = image.transpose(turn)
    return ImageOps.invert(image) if invert else image


def _load(path: Path, content: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            image.load()
            if image.mode == "P" and image.palette is None:
                raise ValueError("its palette is missing")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from None
    except Exception as error:  # Pillow's readers raise arbitrary errors
        reason = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{path}: a damaged image: {reason}") from None
    return image


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: {'a directory' if stat.S_ISDIR(mode) else 'a device or pipe'}, not an image")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file{near_file(path)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _take_apart(content: bytes) -> _Parts | None:
    if content.startswith(PNG):
        return _take_apart_png(content)
    return _take_apart_jpeg(content) if content.startswith(JPEG) else None


def _take_apart_png(content: bytes) -> _Parts:
    """Keep the chunks that define pixels (w3.org/TR/png-3, 5.3); use others only if their checksum is correct."""
    kept = [PNG]
    others: dict[bytes, bytes] = {}
    at = len(PNG)
    while at < len(content):
        chunk = content[at : at + 12 + int.from_bytes(content[at : at + 4])]
        kind, data = chunk[4:8], chunk[8:-4]
        if kind in PNG_PIXELS:
            kept.append(chunk)
        elif zlib.crc32(kind + data) == int.from_bytes(chunk[-4:]):
            others.setdefault(kind, data)
        at += len(chunk)
    return _Parts(b"".join(kept), others.get(b"eXIf", b""), others.get(b"tRNS", b""))


def _take_apart_jpeg(content: bytes) -> _Parts:
    """Leave out comments and application segments, except those that define the colour space."""
    kept = [JPEG]
    exif = b""
    at = len(JPEG)
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != SCAN:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        segment = content[at : at + 2 + max(2, int.from_bytes(content[at + 2 : at + 4]))]
        data = segment[4:]
        start, n_least = COLOUR_SEGMENTS.get(marker, (b"", 0))
        if marker not in (*APPLICATION, COMMENT) or (start and data.startswith(start) and len(data) >= n_least):
            kept.append(segment)
        elif marker == EXIF and data.startswith(b"Exif\0\0"):
            exif = exif or data
        at += len(segment)
    return _Parts(b"".join([*kept, content[at:]]), exif)


def _alpha(image: Image.Image, parts: _Parts) -> NDArray[np.uint8] | None:
    """Return a PNG's opacity from its tRNS chunk, uint8 (H, W); None without one."""
    if not parts.transparency:
        return None
    depth, colour = parts.pixels[24:26]  # from the IHDR chunk
    pixels_HW = np.asarray(image.convert("L") if image.mode == "1" else image)
    if colour == PALETTE:
        table: NDArray[np.uint8] = np.full(256, 255, dtype=np.uint8)
        given = np.frombuffer(parts.transparency[:256], np.uint8)
        table[: len(given)] = given
        alpha_HW: NDArray[np.uint8] = table[pixels_HW]
        return alpha_HW
    n_channels = {GREY: 1, RGB: 3}.get(colour, 0)
    if not n_channels or len(parts.transparency) < 2 * n_channels:
        return None
    highest = 2**depth - 1
    key: NDArray[np.int64] = np.frombuffer(parts.transparency, ">u2", n_channels).astype(np.int64) & highest
    if image.mode != "I;16":
        key = key >> 8 if depth == 16 else key * 255 // highest  # as Pillow scales the pixels
    is_shown_HW = (pixels_HW.reshape(*pixels_HW.shape[:2], n_channels) != key).any(axis=2)
    return np.where(is_shown_HW, np.uint8(255), np.uint8(0))


def _turn(exif: bytes) -> Transpose | None:
    """Return the transformation that makes an image upright; None if none is needed, or its EXIF block is damaged."""
    if not exif:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damage elsewhere in it
        try:
            found = Image.Exif()
            found.load(exif)
            orientation: Any = found.get(Base.Orientation)
            return UPRIGHT.get(orientation)
        except Exception:  # Pillow's reader raises arbitrary errors
            return None
