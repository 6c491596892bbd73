"""Images whose pixels are whole, whatever else their files say; and arrays that are no images."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_tune.errors import UserError
from fmnist_tune.retrain.images import load_image
from fmnist_tune.retrain.saved import SavedModel
from tests.conftest import save_model

PIXELS = np.zeros((28, 28), dtype=np.uint8)
PIXELS[4:, 6:20] = 119  # 7/15 of 255: also an image of 4 bits has it
PIXELS[8:14, 10:16] = 255
IS_WHITE = PIXELS == 255


def chunk(kind: bytes, data: bytes, *, damaged: bool = False) -> bytes:
    checksum = zlib.crc32(kind + data) ^ damaged
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(depth: int, colour: int, samples_HWC: np.ndarray, *extra: bytes) -> bytes:
    """Return a PNG file with extra chunks before its pixels; samples are packed into so many bits."""
    height, width = samples_HWC.shape[:2]
    samples = samples_HWC.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        rows = [np.packbits(row.ravel()).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG file of the pixels with extra segments (marker, data)."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", quality=100)
    content = file.getvalue()
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return content[:2] + extra + content[2:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return an EXIF block of (tag, type, count, four bytes of value or offset)."""
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + directory + struct.pack("<I", 0) + b"\1\0\0\0" * 8


ORIENTATION, MAKE, RESOLUTION, SOFTWARE, EXIF_IFD = 0x0112, 0x010F, 0x011A, 0x0131, 0x8769
BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5
SIDEWAYS = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))


def read(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return load_image(path, False).pixels_HW


METADATA = {
    "text, wrong checksum": chunk(b"tEXt", b"Comment\0x", damaged=True),
    "compressed text, wrong checksum": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x"), damaged=True),
    "compressed text of a bomb": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000))),
    "international text of a bomb": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(10_000_000))),
    "compressed text by an unknown method": chunk(b"zTXt", b"Comment\0\7x"),
    "colour profile of a bomb": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(10_000_000))),
    "colour profile by an unknown method": chunk(b"iCCP", b"name\0\7x"),
    "resolution cut short": chunk(b"pHYs", b"x"),
    "gamma cut short": chunk(b"gAMA", b"x"),
    "primaries cut short": chunk(b"cHRM", b"abc"),
    "animation cut short": chunk(b"acTL", b"x"),
    "EXIF that is none": chunk(b"eXIf", b"nonsense"),
    "a chunk without a name": chunk(b"\xff\xfe\0\0", b"x"),
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA.keys())
def test_damaged_metadata_of_a_png_leaves_its_pixels_whole(tmp_path: Path, metadata: bytes) -> None:
    assert np.array_equal(read(tmp_path / "image.png", png(8, 0, PIXELS, metadata)), PIXELS)


def test_the_first_image_of_an_animation_is_taken(tmp_path: Path) -> None:
    file = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.new("L", (28, 28))]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(read(tmp_path / "image.png", file.getvalue()), PIXELS)


SEGMENTS = {
    "EXIF software that is a fraction": (0xE1, b"Exif\0\0" + exif((SOFTWARE, RATIONAL, 1, struct.pack("<I", 40)))),
    "EXIF resolution that is a text": (0xE1, b"Exif\0\0" + exif((RESOLUTION, ASCII, 3, b"abc\0"))),
    "EXIF orientation that is a text": (0xE1, b"Exif\0\0" + exif((ORIENTATION, ASCII, 2, b"6\0\0\0"))),
    "EXIF orientation beyond 8": (0xE1, b"Exif\0\0" + exif((ORIENTATION, SHORT, 1, b"\x63\0\0\0"))),
    "EXIF orientation out of reach": (0xE1, b"Exif\0\0" + exif((ORIENTATION, RATIONAL, 1, b"\0\0\1\0"))),
    "EXIF without anything": (0xE1, b"Exif\0\0"),
    "a short JFIF segment": (0xE0, b"JFIF\0"),
    "a short Adobe segment": (0xEE, b"Adobe"),
    "a short colour profile": (0xE2, b"ICC_PROFILE\0"),
    "a second image that is not there": (0xE2, b"MPF\0II*\0\x08\0\0\0\2\0" + bytes(range(30))),
}


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_damaged_metadata_of_a_jpeg_leaves_its_pixels_whole(tmp_path: Path, segment: tuple[int, bytes]) -> None:
    plain = read(tmp_path / "plain.jpg", jpeg()).astype(int)
    assert np.abs(plain - PIXELS).mean() < 2
    assert np.array_equal(read(tmp_path / "image.jpg", jpeg(segment)), plain)


@pytest.mark.parametrize(
    "other",
    [
        (SOFTWARE, RATIONAL, 1, struct.pack("<I", 40)),
        (RESOLUTION, ASCII, 3, b"abc\0"),
        (MAKE, ASCII, 2**32 - 1, struct.pack("<I", 8)),
        (EXIF_IFD, LONG, 1, struct.pack("<I", 8)),
        (EXIF_IFD, BYTE, 4, b"\xff\xff\xff\xff"),
        (SOFTWARE, 99, 1, b"\0\0\0\0"),
    ],
    ids=["fraction", "text", "endless", "a loop", "no offset", "unknown type"],
)
def test_an_image_is_put_upright_whatever_its_other_tags_are(
    tmp_path: Path, other: tuple[int, int, int, bytes]
) -> None:
    block = exif(*sorted([other, SIDEWAYS]))
    turned = np.rot90(PIXELS, -1)
    assert np.array_equal(read(tmp_path / "image.png", png(8, 0, PIXELS, chunk(b"eXIf", block))), turned)
    found = read(tmp_path / "image.jpg", jpeg((0xE1, b"Exif\0\0" + block)))
    assert np.abs(found.astype(int) - turned).mean() < 2


LEVELS = IS_WHITE + (PIXELS > 0).astype(int)  # 0, 1 and 2
COLOURS = chunk(b"PLTE", bytes([0, 0, 0, 119, 119, 119, 255, 255, 255]))
WIDE = PIXELS.astype(int) * 257
CLEAR = {
    "grey, 8 bits": png(8, 0, PIXELS, chunk(b"tRNS", struct.pack(">H", 255))),
    "grey, 16 bits": png(16, 0, WIDE, chunk(b"tRNS", struct.pack(">H", 65535))),
    "grey, 4 bits": png(4, 0, PIXELS // 17, chunk(b"tRNS", struct.pack(">H", 15))),
    "colour, 8 bits": png(8, 2, np.repeat(PIXELS[..., None], 3, 2), chunk(b"tRNS", struct.pack(">3H", 255, 255, 255))),
    "colour, 16 bits": png(16, 2, np.repeat(WIDE[..., None], 3, 2), chunk(b"tRNS", struct.pack(">3H", *[65535] * 3))),
    "palette, 8 bits": png(8, 3, LEVELS, COLOURS, chunk(b"tRNS", bytes([255, 255, 0]))),
    "palette, 2 bits": png(2, 3, LEVELS, COLOURS, chunk(b"tRNS", bytes([255, 255, 0]))),
    "palette, too many": png(8, 3, LEVELS, COLOURS, chunk(b"tRNS", bytes([255, 255, 0, *[0] * 300]))),
    "opacity, 16 bits": png(16, 4, np.stack([WIDE, np.where(IS_WHITE, 0, 65535)], 2)),
}


@pytest.mark.parametrize("key", [0x8001, 0x80FF, 0x4000])
def test_a_transparent_colour_of_16_bits_is_the_pixels_whole_colour(tmp_path: Path, key: int) -> None:
    pixels = png(16, 2, np.full((28, 28, 3), key), chunk(b"tRNS", struct.pack(">3H", key, key, key)))
    assert not read(tmp_path / "image.png", pixels).any()


@pytest.mark.parametrize("content", CLEAR.values(), ids=CLEAR.keys())
def test_what_is_transparent_is_black_in_every_kind_of_png(tmp_path: Path, content: bytes) -> None:
    assert np.array_equal(read(tmp_path / "image.png", content), np.where(IS_WHITE, 0, PIXELS))


OPAQUE = {
    "grey, cut short": png(8, 0, PIXELS, chunk(b"tRNS", b"")),
    "colour, cut short": png(8, 2, np.repeat(PIXELS[..., None], 3, 2), chunk(b"tRNS", b"\0\1")),
    "wrong checksum": png(8, 0, PIXELS, chunk(b"tRNS", struct.pack(">H", 255), damaged=True)),
    "palette, empty": png(8, 3, LEVELS, COLOURS, chunk(b"tRNS", b"")),
}


@pytest.mark.parametrize("content", OPAQUE.values(), ids=OPAQUE.keys())
def test_damaged_transparency_is_none(tmp_path: Path, content: bytes) -> None:
    assert np.array_equal(read(tmp_path / "image.png", content), PIXELS)


def test_an_image_of_one_bit_has_transparency_too(tmp_path: Path) -> None:
    found = read(tmp_path / "image.png", png(1, 0, IS_WHITE, chunk(b"tRNS", struct.pack(">H", 0))))
    assert np.array_equal(found, np.where(IS_WHITE, 255, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(8, 3, LEVELS), "a damaged image: its palette is missing"),
        (png(8, 0, PIXELS)[:60], "a damaged image: image file is truncated"),
        (png(8, 0, PIXELS).replace(b"IHDR", b"IHDX"), "a damaged image: its header cannot be read"),
        (jpeg()[:300], "a damaged image: "),
        (jpeg()[:2], "a damaged image: its header cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "a damaged image: its header cannot be read"),
    ],
    ids=["no palette", "cut", "no header", "cut JPEG", "JPEG's first bytes", "PNG's first bytes"],
)
def test_damaged_pixels_are_one_message(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "image.png"
    with pytest.raises(UserError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.fixture
def model(tmp_path: Path) -> SavedModel:
    from torch import nn

    recipe = "study: s\nmodel: {name: mlp, hidden: []}\n"
    save_model(tmp_path / "model", recipe, nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    return SavedModel.load(tmp_path / "model")


def test_floats_from_0_to_1_are_scored_as_the_same_pixels_of_8_bits(model: SavedModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    expected = model.scores(images)
    for same in (
        images.astype(np.float32) / 255,
        images / 255,
        images.astype(int),
        images.tolist(),
        images[::-1][::-1],
    ):
        assert np.abs(model.scores(same) - expected).max() < 1e-5


def test_a_single_image_is_a_batch_of_one(model: SavedModel) -> None:
    assert np.array_equal(model.scores(PIXELS), model.scores(PIXELS[None]))
    assert model.scores(np.empty((0, 28, 28), dtype=np.uint8)).shape == (0, 10)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28, 3), np.uint8), r"images of shape \(2, 28, 28, 3\): must be grey images, \(N, 28, 28\)"),
        (np.zeros((28, 28, 3), np.uint8), r"images of shape \(28, 28, 3\): must be grey images"),
        (np.zeros((2, 784), np.uint8), r"images of shape \(2, 784\): must be grey images"),
        (PIXELS.astype(float), "images of type float64 with pixels from 0 to 255: must be uint8 .* or floats in"),
        (PIXELS / 255 - 0.5, "with pixels from -0.5 to 0.5: .* neither normalised nor padded"),
        (np.full((28, 28), np.nan), "with pixels from nan to nan"),
        (np.full((28, 28), 256), "images of type int64 with pixels from 256 to 256"),
        (PIXELS > 0, "images of type bool: must be uint8 from 0 to 255, or floats"),
    ],
    ids=["colours", "one in colours", "flat", "floats to 255", "normalised", "nan", "too bright", "bool"],
)
def test_what_is_no_image_is_named(model: SavedModel, images: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.scores(images)
