"""Hypothesis strategies of hostile messages: random, nearly valid, malicious. Plain objects.

Strings and numbers stay within what a ROS message can hold: `ros_graph.to_image` can send them.
Used by the tests and by bench/fuzz.py.
"""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hand_depth_ros.ros.messages.encodings import ENCODINGS
from support import messages

UINT8, UINT32 = st.integers(0, 255), st.integers(0, 2**32 - 1)
SIZES = st.one_of(st.integers(0, 9), UINT32, st.sampled_from([2**16, 2**31, 2**32 - 1]))
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
NAMES = st.one_of(
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(["16UC1", "32FC1", "8UC3", "64FC9999999999", "RGB8", "jpeg", "it's", 'it\'s "x"', "\n"]),
    TEXT,
)
WIDTH, HEIGHT = 32, 24


def plain(**strategies: Any) -> st.SearchStrategy[SimpleNamespace]:
    """Build objects with these fields."""
    return st.builds(lambda **fields: SimpleNamespace(**fields), **strategies)


RANDOM_IMAGES = plain(
    height=SIZES,
    width=SIZES,
    step=st.one_of(st.integers(0, 80), UINT32),
    encoding=NAMES,
    is_bigendian=UINT8,
    data=st.binary(max_size=600),
)


@st.composite
def images_nearly_right(draw: Any, size: tuple[int, int] | None = None) -> SimpleNamespace:
    """Draw an image of any encoding whose fields agree, or all but one; `size`: (height, width)."""
    name = draw(st.sampled_from(sorted(ENCODINGS)))
    encoding = ENCODINGS[name]
    height, width = size or (draw(st.integers(1, 7)), draw(st.integers(1, 9)))
    pad = draw(st.integers(0, 5))
    step = width * encoding.channels * int(encoding.dtype[1]) + pad
    rows = height * 3 // 2 if name in ("nv12", "nv21") else height
    size = max(0, step * rows - draw(st.integers(0, pad)))
    image = SimpleNamespace(
        height=height,
        width=width,
        step=step,
        encoding=name,
        is_bigendian=draw(st.integers(0, 1)),
        data=(draw(st.binary(min_size=1, max_size=16)) * size)[:size],
    )
    spoilt = draw(st.sampled_from(["", "", "height", "width", "step", "encoding", "data"]))
    if spoilt == "data":
        image.data = draw(st.binary(max_size=size))
    elif spoilt:
        setattr(image, spoilt, draw(NAMES if spoilt == "encoding" else SIZES))
    return image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk (PNG specification, 5.3)."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    """Return an IHDR chunk (PNG specification, 11.2.1)."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = png_chunk(b"IDAT", zlib.compress(bytes(100)))
PNG_END = png_chunk(b"IEND", b"")
ANIMATED = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
PNG_CHUNKS = st.one_of(
    st.builds(png_header, UINT32, UINT32, UINT8, UINT8, UINT8),
    st.builds(png_header, *[st.integers(1, 40)] * 2, st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 6)),
    st.builds(png_header, *[st.integers(0, 9000)] * 2),
    st.just(PNG_PIXELS),
    st.just(ANIMATED),
    st.builds(
        lambda *sizes: png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", *sizes, 1, 1, 0, 0)),
        *[st.one_of(st.integers(0, 40), UINT32)] * 5,
    ),
    st.builds(
        png_chunk, st.sampled_from([b"PLTE", b"tRNS", b"IDAT", b"fdAT", b"eXIf"]), st.binary(max_size=40)
    ),
)
MADE_PNG = st.builds(
    lambda chunks: PNG + b"".join(chunks) + PNG_END, st.lists(PNG_CHUNKS, min_size=1, max_size=5)
)


def _encoded(extension: str, *options: int) -> bytes:
    return cv2.imencode(extension, messages.sample_rgb(HEIGHT, WIDTH), options)[1].tobytes()


FILES = [
    _encoded(".png"),
    _encoded(".jpg"),
    _encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    _encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
]


@st.composite
def files_damaged(draw: Any) -> bytes:
    """Draw a png or jpeg, whole or with some bytes changed, inserted or removed."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.one_of(st.integers(0, 60), st.integers(0, len(data))))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


SEGMENTS = st.one_of(
    st.builds(
        lambda marker, length, body: bytes((0xFF, marker)) + length.to_bytes(2, "big") + body,
        st.one_of(UINT8, st.sampled_from([0xC0, 0xC2, 0xC3, 0xC9, 0xD0, 0xDA, 0xDB, 0xFF])),
        st.one_of(st.sampled_from([0, 1, 2, 11, 17]), st.integers(0, 2**16 - 1)),
        st.binary(max_size=30),
    ),
    st.binary(max_size=5),
)
MADE_JPEG = st.builds(
    lambda parts, rest: b"\xff\xd8" + b"".join(parts) + rest + b"\xff\xd9",
    st.lists(SEGMENTS, max_size=4),
    st.sampled_from([b"", *[file[2:] for file in FILES[1:]]]),
)
COMPRESSED_IMAGES = plain(
    format=st.one_of(
        st.sampled_from(
            ["jpeg", "png", "bgr8; jpeg compressed bgr8", "bayer_rggb8; png", "16UC1; compressedDepth"]
        ),
        TEXT,
    ),
    data=st.one_of(files_damaged(), MADE_PNG, MADE_JPEG, st.binary(max_size=300)),
)
RAW_IMAGES = st.one_of(images_nearly_right(), RANDOM_IMAGES)
IMAGES = st.one_of(RAW_IMAGES, COMPRESSED_IMAGES)
"""Images and CompressedImages with all kinds of faults."""
IMAGES_OF_SIZE = st.one_of(images_nearly_right((HEIGHT, WIDTH)), COMPRESSED_IMAGES)
"""Images that are mostly of HEIGHT x WIDTH."""

NUMBERS = st.one_of(
    st.floats(width=64), st.sampled_from([0.0, -1.0, 1e-3, 30.0, 1e9, float("nan"), float("inf")])
)
_GOOD = messages.camera_info(WIDTH, HEIGHT)


def _numbers(good: list[float]) -> st.SearchStrategy[list[float]]:
    """Draw the right numbers, with one of them wrong, or all of them random."""
    return st.one_of(
        st.just(good),
        st.builds(
            lambda at, value: [*good[:at], value, *good[at + 1 :]], st.integers(0, len(good) - 1), NUMBERS
        ),
        st.lists(NUMBERS, min_size=len(good), max_size=len(good)),
    )


INFO_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "width": SIZES,
    "height": SIZES,
    "k": _numbers(_GOOD.k),
    "p": _numbers(_GOOD.p),
    "d": st.one_of(st.lists(st.floats(-2.0, 2.0), max_size=14), st.lists(NUMBERS, max_size=14)),
    "distortion_model": st.one_of(st.sampled_from(["rational_polynomial", "equidistant", ""]), TEXT),
    "binning_x": st.one_of(st.integers(0, 2), UINT32),
    "binning_y": st.one_of(st.integers(0, 2), UINT32),
    "roi": plain(x_offset=SIZES, y_offset=SIZES, width=SIZES, height=SIZES, do_rectify=st.booleans()),
}


@st.composite
def camera_infos(draw: Any) -> SimpleNamespace:
    """Draw a valid one with none, one, a few or all of its fields replaced."""
    replaced = draw(st.lists(st.sampled_from(list(INFO_FIELDS)), max_size=4, unique=True))
    replaced = list(INFO_FIELDS) if draw(st.integers(0, 9)) == 9 else replaced
    return SimpleNamespace(**{**vars(_GOOD), **{name: draw(INFO_FIELDS[name]) for name in replaced}})


CAMERA_INFOS = camera_infos()
"""CameraInfos for an image of WIDTH x HEIGHT: right, nearly right, or absurd."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["info", "info", "image", "image", "clear"]),
        st.integers(0, 4) | st.integers(0, 2**62),
    ),
    max_size=40,
)
"""Sequences of what CameraInfos receives: kind and stamp in ns."""


def samples(strategy: st.SearchStrategy[Any], count: int, number: int = 0) -> list[Any]:
    """Draw `count` examples, the same for the same seed `number`."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found[:count]
