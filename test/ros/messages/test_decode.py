"""Decoding of every colour encoding, and rejection of broken images with the reason."""

from __future__ import annotations

import sys
from array import array
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from support import messages

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages import cv_bridge_converter as bridge_module
from hand_depth_ros.ros.messages.decode import decode_image, opencv_to_rgb
from hand_depth_ros.ros.messages.encodings import ENCODINGS

RGB = messages.sample_rgb()
ALPHA = np.full((*RGB.shape[:2], 1), 77, np.uint8)
PACKED = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.concatenate((RGB, ALPHA), -1),
    "bgra8": np.concatenate((RGB[..., ::-1], ALPHA), -1),
}


@pytest.mark.parametrize("pad", [0, 13])
@pytest.mark.parametrize("name", PACKED)
def test_packed_colours_decode_exactly(name: str, pad: int) -> None:
    assert np.array_equal(decode_image(messages.image(PACKED[name], name, pad)), RGB)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("name", ["rgb16", "bgr16", "rgba16", "bgra16", "mono16"])
def test_converts_sixteen_bits_in_either_byte_order(name: str, big: int) -> None:
    # v * 257 is the 16-bit value of the 8-bit v.
    base = RGB[..., 0] if name == "mono16" else PACKED[name.replace("16", "8")]
    wide = (base.astype(np.uint16) * 257).astype(">u2" if big else "<u2")
    expected = np.repeat(RGB[..., :1], 3, -1) if name == "mono16" else RGB
    assert np.array_equal(decode_image(messages.image(wide, name, 6, big)), expected)


def test_ignores_is_bigendian_for_eight_bits() -> None:
    assert np.array_equal(decode_image(messages.image(RGB, "rgb8", is_bigendian=1)), RGB)


def test_decodes_mono_with_odd_width_and_padding() -> None:
    grey = RGB[:, :31, 1]
    assert np.array_equal(decode_image(messages.image(grey, "mono8", 5)), np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_reproduces_a_flat_colour(pattern: str, bits: int) -> None:
    colour = np.full((12, 16, 3), (200, 120, 40), np.uint8)
    raw = messages.mosaic(colour, pattern)
    raw = raw if bits == 8 else raw.astype("<u2") * 257
    assert np.array_equal(
        decode_image(messages.image(raw, f"bayer_{pattern}{bits}", 4))[2:-2, 2:-2], colour[2:-2, 2:-2]
    )


@pytest.mark.parametrize("name", ["yuyv", "yuv422_yuy2", "uyvy", "yuv422"])
def test_yuv422_decodes_within_rounding(name: str) -> None:
    smooth = np.repeat(RGB[:, ::2], 2, axis=1)
    packed = messages.yuyv(smooth, uyvy=name in ("uyvy", "yuv422"))
    decoded = decode_image(messages.image(packed, name, 10))
    assert np.abs(decoded.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("height_is_rows", [False, True])
@pytest.mark.parametrize("name", ["nv12", "nv21"])
def test_semi_planar_decodes_with_either_meaning_of_height(name: str, height_is_rows: bool) -> None:
    blocks = np.repeat(np.repeat(RGB[::2, ::2], 2, 0), 2, 1)
    msg = messages.image(messages.semi_planar(blocks, vu=name == "nv21"), name, 8)
    msg.height = msg.height if height_is_rows else blocks.shape[0]
    decoded = decode_image(msg)
    assert decoded.shape == blocks.shape and np.abs(decoded.astype(int) - blocks).max() <= 4


@pytest.mark.parametrize("name", sorted(set(ENCODINGS) - {"nv12", "nv21"}))
def test_agrees_with_rosbags_image(name: str) -> None:
    oracle = pytest.importorskip(
        "rosbags.image", reason="rosbags-image is not installed (pip install 'hand_depth_ros[bag]')"
    )
    spec = ENCODINGS[name]
    shape = (10, 14) if spec.channels == 1 else (10, 14, spec.channels)
    limit = 255 if spec.dtype == "u1" else 65535
    msg = messages.image(np.random.default_rng(1).integers(0, limit, shape).astype(spec.dtype), name)
    expected = oracle.message_to_cvimage(SimpleNamespace(**vars(msg)), "rgb8").astype(int)
    tolerance = 0 if spec.dtype == "u1" else 1  # it cuts fractions off, we round
    assert np.abs(decode_image(msg).astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda b: array("B", b), list])
def test_accepts_any_type_of_data_field(kind: object) -> None:
    msg = messages.image(RGB, "rgb8", 3)
    msg.data = kind(msg.data.tobytes())  # type: ignore[operator]
    decoded = decode_image(msg)
    assert np.array_equal(decoded, RGB) and decoded.flags.writeable and decoded.flags.c_contiguous


def compressed(
    extension: str, pixels: np.ndarray, format: str = "rgb8; jpeg compressed bgr8"
) -> SimpleNamespace:
    done, data = cv2.imencode(extension, pixels)
    assert done
    return SimpleNamespace(format=format, data=data.reshape(-1))


def test_png_is_lossless_and_jpeg_close() -> None:
    assert np.array_equal(decode_image(compressed(".png", RGB[..., ::-1])), RGB)
    assert np.abs(decode_image(compressed(".jpg", RGB[..., ::-1])).astype(int) - RGB).mean() < 6


FORMATS = {
    ".jpg": (
        "rgb8; jpeg compressed bgr8",
        "bgra8; jpeg compressed bgr8",
        "jpeg",
        "jpg",
        "rgb8; jpeg compressed ",
        "",
    ),
    ".png": ("rgb8; png compressed bgr8", "bgr8; png compressed ", "png", "rgb16; png compressed bgr16", ""),
}
"""`format` as image_transport (several versions) and drivers (Azure Kinect, usb_cam) write it."""


@pytest.mark.parametrize(("extension", "format"), [(e, f) for e, formats in FORMATS.items() for f in formats])
def test_decodes_every_known_format_string(extension: str, format: str) -> None:
    decoded = decode_image(compressed(extension, RGB[..., ::-1], format))
    assert decoded.shape == RGB.shape
    assert np.abs(decoded.astype(int) - RGB).mean() < (0.01 if extension == ".png" else 6)


def test_decodes_compressed_grey_and_bayer() -> None:
    grey = RGB[..., 1]
    decoded = decode_image(compressed(".png", grey, "mono8; png compressed mono8"))
    assert np.array_equal(decoded, np.repeat(grey[..., None], 3, -1))
    colour = np.full((12, 16, 3), (200, 120, 40), np.uint8)
    raw = messages.mosaic(colour, "grbg")
    decoded = decode_image(compressed(".png", raw, "bayer_grbg8; png compressed bayer_grbg8"))
    assert np.array_equal(decoded[2:-2, 2:-2], colour[2:-2, 2:-2])


BROKEN = {
    "empty": ({"data": np.zeros(0, np.uint8)}, "empty"),
    "truncated": ({"data": np.zeros(100, np.uint8)}, "truncated"),
    "step too small": ({"step": 31}, "step"),
    "step zero": ({"step": 0}, "step"),
    "step too large": ({"step": 4000}, "step"),
    "data too long": ({"data": np.zeros(24 * 96 + 1, np.uint8)}, "step"),
    "unknown encoding": ({"encoding": "rgb7"}, "rgb7"),
    "no encoding": ({"encoding": ""}, "encoding"),
    "depth": ({"encoding": "16UC1"}, "remap"),
    "no width": ({"width": 0}, "no pixels"),
    "no height": ({"height": 0}, "no pixels"),
    "absurd": ({"width": 2**31, "height": 2**31, "step": 2**32 - 1}, "claims"),
    "odd yuyv": ({"encoding": "yuyv", "width": 31}, "even"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rejects_broken_images_with_the_reason(name: str) -> None:
    fields, word = BROKEN[name]
    with pytest.raises(ImageError, match=word):
        decode_image(SimpleNamespace(**{**vars(messages.image(RGB, "rgb8")), **fields}))


def test_rejects_bayer_of_one_row() -> None:
    with pytest.raises(ImageError, match="2x2"):
        decode_image(messages.image(np.zeros((1, 8), np.uint8), "bayer_rggb8"))


def huge(extension: str) -> np.ndarray:
    """Return a small file whose header claims 60000 x 60000."""
    data = compressed(extension, RGB).data.copy()
    if extension == ".png":
        data[16:24] = np.frombuffer((60000).to_bytes(4, "big") * 2, np.uint8)
        return data
    start = bytes(data).index(b"\xff\xc0")
    data[start + 5 : start + 9] = np.frombuffer((60000).to_bytes(2, "big") * 2, np.uint8)
    return data


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (np.zeros(0, np.uint8), "empty"),
        (np.frombuffer(b"GIF89a" + bytes(50), np.uint8), "neither"),
        (compressed(".jpg", RGB).data[:300], "truncated"),
        (compressed(".png", RGB).data[:300], "truncated"),
        (np.frombuffer(b"\xff\xd8\xff\xd9", np.uint8), "header"),
        (huge(".jpg"), "claims"),
        (huge(".png"), "claims"),
    ],
)
def test_rejects_broken_compressed_data(data: np.ndarray, word: str) -> None:
    with pytest.raises(ImageError, match=word):
        decode_image(SimpleNamespace(format="jpeg", data=data))


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_ignores_zeros_after_a_complete_image(extension: str) -> None:
    whole = compressed(extension, RGB)
    padded = np.concatenate((whole.data, np.zeros(4096, np.uint8)))
    assert np.array_equal(
        decode_image(SimpleNamespace(format=whole.format, data=padded)), decode_image(whole)
    )
    for broken in (whole.data[:300], huge(extension)):
        with pytest.raises(ImageError, match=r"truncated|claims"):
            decode_image(
                SimpleNamespace(format="jpeg", data=np.append(broken, np.zeros(9_000_000, np.uint8)))
            )


def test_rejects_compressed_depth() -> None:
    with pytest.raises(ImageError, match="remap"):
        decode_image(SimpleNamespace(format="16UC1; compressedDepth png", data=np.zeros(10, np.uint8)))


@pytest.fixture
def install_cv_bridge(monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a fake cv_bridge with the given conversion."""

    def install(convert: object) -> list[str]:
        calls: list[str] = []

        class CvBridge:
            def imgmsg_to_cv2(self, msg: SimpleNamespace, desired_encoding: str) -> np.ndarray:
                calls.append(msg.encoding)
                return convert(msg)  # type: ignore[operator]

        module = ModuleType("cv_bridge")
        module.CvBridge = CvBridge  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "cv_bridge", module)
        return calls

    for cached in (bridge_module._bridge, bridge_module.cv_bridge_converter):
        cached.cache_clear()
    yield install
    for cached in (bridge_module._bridge, bridge_module.cv_bridge_converter):
        cached.cache_clear()


def test_uses_a_working_cv_bridge(install_cv_bridge) -> None:
    def healthy(msg: SimpleNamespace) -> np.ndarray:
        return opencv_to_rgb(
            np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, -1), msg.encoding
        )

    calls = install_cv_bridge(healthy)
    assert np.array_equal(decode_image(messages.image(PACKED["bgr8"], "bgr8", 7)), RGB)
    assert calls == ["bgr8", "bgr8"]  # the health check, the image


@pytest.mark.parametrize("fault", ["raises", "lies"])
def test_ignores_a_broken_cv_bridge(install_cv_bridge, fault: str) -> None:
    def broken(msg: SimpleNamespace) -> np.ndarray:
        if fault == "raises":
            raise KeyError(16)
        return np.zeros((msg.height, msg.width, 3), np.uint8)

    calls = install_cv_bridge(broken)
    for _ in range(2):
        assert np.array_equal(decode_image(messages.image(PACKED["bgr8"], "bgr8")), RGB)
    assert calls == ["bgr8"]


def test_installed_cv_bridge_gives_the_same_pixels() -> None:
    pytest.importorskip("cv_bridge", reason="cv_bridge is not installed (apt install ros-jazzy-cv-bridge)")
    for name, pixels in PACKED.items():
        assert np.array_equal(decode_image(messages.image(pixels, name, 7)), RGB)
