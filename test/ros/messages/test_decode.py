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
from hand_depth_ros.ros.messages.decode import ImageDecoder, decode_image, opencv_to_rgb
from hand_depth_ros.ros.messages.encodings import ENCODINGS
from hand_depth_ros.ros.messages.settings import DecodeSettings

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


@pytest.mark.parametrize(
    "format",
    [
        "16UC1; png compressed ",
        "16UC1; png compressed 16UC1",
        "16UC1;png",
        "16uc1; png compressed",
        " 16UC1 ; png",
        "32FC1; tiff compressed",
        "compressedDepth",
        "16UC1; compressedDepth rvl",
        "32FC1; compresseddepth png",
        "png; depth",
    ],
)
def test_rejects_compressed_images_whose_format_says_depth(format: str) -> None:
    depth = np.full((24, 32), 600, np.uint16)
    with pytest.raises(ImageError, match="depth image: remap image to a colour topic"):
        decode_image(compressed(".png", depth, format))


SMOOTH = messages.sample_rgb(120, 160)
"""Larger than RGB, so that a few pixels are no outliers."""


def as_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return 8-bit pixels as a sensor of `bits` bits stores them in 16."""
    return np.rint(pixels * ((2**bits - 1) / 255)).astype(np.uint16)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("name", ["rgb16", "bgr16", "rgba16", "mono16", "bayer_rggb16", "png", "grey png"])
def test_sensors_of_any_bit_depth_give_the_same_image(name: str, bits: int) -> None:
    """Within one grey level, of raw images, Bayer mosaics and 16-bit PNG."""
    alpha = np.full((*SMOOTH.shape[:2], 1), 255, np.uint8)
    pixels = {
        "bgr16": SMOOTH[..., ::-1],
        "rgba16": np.concatenate((SMOOTH, alpha), -1),
        "mono16": SMOOTH[..., 0],
        "bayer_rggb16": messages.mosaic(SMOOTH, "rggb"),
        "png": SMOOTH[..., ::-1],
        "grey png": SMOOTH[..., 0],
    }.get(name, SMOOTH)
    if "png" in name:
        source = "mono16" if "grey" in name else "rgb16"
        msg = compressed(".png", as_bits(pixels, bits), f"{source}; png compressed {source}")
        expected = decode_image(compressed(".png", pixels))
    else:
        msg = messages.image(as_bits(pixels, bits), name)
        expected = decode_image(messages.image(pixels, name.replace("16", "8")))
    decoder = ImageDecoder()
    assert np.abs(decoder.decode(msg).astype(int) - expected).max() <= 1
    assert decoder.bit_depth == bits


def test_reports_the_bit_depth_once() -> None:
    reports: list[str] = []
    decoder = ImageDecoder(report=reports.append)
    for bits in (10, 10, 12, 10, 16):
        decoder.decode(messages.image(as_bits(SMOOTH, bits), "rgb16"))
    assert [text.split("-bit values")[0][-2:] for text in reports] == ["10", "12", "16"]
    assert all("set bit_depth if that is wrong" in text for text in reports)


def test_parameter_overrides_the_bit_depth() -> None:
    msg = messages.image(as_bits(SMOOTH, 10), "rgb16")
    dark = ImageDecoder(DecodeSettings(bit_depth=12)).decode(msg)
    assert np.abs(dark.astype(int) - SMOOTH / 4).max() <= 1
    with pytest.raises(ImageError, match="bit_depth is 8"):
        ImageDecoder(DecodeSettings(bit_depth=8)).decode(msg)


@pytest.mark.parametrize(
    ("encoding", "untyped"),
    [("8UC3", "bgr8"), ("8UC3", "rgb8"), ("8UC1", "mono8"), ("8UC1", "bayer_grbg8"), ("8UC4", "bgra8")],
)
def test_untyped_encoding_is_read_as_the_parameter_says(encoding: str, untyped: str) -> None:
    channels = ENCODINGS[untyped].channels
    pixels = {1: RGB[..., 0], 3: RGB, 4: np.concatenate((RGB, ALPHA), -1)}[channels]
    expected = decode_image(messages.image(pixels, untyped))
    decoder = ImageDecoder(DecodeSettings(untyped_encoding=untyped))
    assert np.array_equal(decoder.decode(messages.image(pixels, encoding)), expected)
    with pytest.raises(ImageError, match="untyped_encoding"):
        decode_image(messages.image(pixels, encoding))


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [
        ("8UC1", "publish it as mono8"),
        ("8UC3", "publish it as rgb8 or bgr8"),
        ("16UC3", "publish it as rgb16 or bgr16"),
        ("16UC1", "remap image to a colour topic"),
        ("32FC3", "remap image to a colour topic"),
    ],
)
def test_advises_what_to_do_about_an_untyped_encoding(encoding: str, advice: str) -> None:
    msg = messages.image(RGB, "rgb8")
    msg.encoding = encoding
    with pytest.raises(ImageError, match=advice):
        decode_image(msg)


def test_untyped_encoding_must_fit_the_pixels() -> None:
    decoder = ImageDecoder(DecodeSettings(untyped_encoding="bgr8"))
    with pytest.raises(ImageError, match=r"8UC1.*cannot be read as bgr8.*mono8"):
        decoder.decode(messages.image(RGB[..., 0], "8UC1"))
    with pytest.raises(ImageError, match="remap image to a colour topic"):
        decoder.decode(messages.image(RGB[..., 0].astype(np.float32), "32FC1"))


@pytest.mark.parametrize("stored_rows", [32, 64])
@pytest.mark.parametrize("name", ["nv12", "nv21"])
def test_decodes_semi_planar_with_padded_height(name: str, stored_rows: int) -> None:
    """Hardware decoders align both planes' height; `height` is the image's."""
    blocks = np.repeat(np.repeat(RGB[::2, ::2], 2, 0), 2, 1)
    height = blocks.shape[0]
    planes = messages.semi_planar(blocks, vu=name == "nv21")
    added = np.full((stored_rows - height, planes.shape[1]), 77, np.uint8)
    padded = np.concatenate((planes[:height], added, planes[height:], added[: len(added) // 2]))
    msg = messages.image(padded, name, 8)
    msg.height = height
    whole = messages.image(planes, name, 8)
    whole.height = height
    assert np.array_equal(decode_image(msg), decode_image(whole))


@pytest.mark.parametrize("junk", [b"\x00\x01junk" * 50, b"\xff\xd8\xff\xe0" * 100, bytes(5000) + b"end"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_ignores_junk_after_the_end_of_a_complete_image(extension: str, junk: bytes) -> None:
    whole = compressed(extension, RGB)
    decoder = ImageDecoder()
    data = np.concatenate((whole.data, np.frombuffer(junk, np.uint8)))
    decoded = decoder.decode(SimpleNamespace(format=whole.format, data=data))
    assert np.array_equal(decoded, decode_image(whole)) and not decoder.damage


DETAILED = np.random.default_rng(3).integers(0, 255, (30, 40, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def damaged(kind: str, seed: int) -> np.ndarray:
    """Return a JPEG of DETAILED, 320 x 240, that lost a part of its second half."""
    options = (cv2.IMWRITE_JPEG_RST_INTERVAL, 4) if kind == "restart" else ()
    data = cv2.imencode(".jpg", DETAILED, options)[1].reshape(-1).copy()
    half = data.size // 2 + 100 * seed
    if kind == "zeros":
        data[half : half + 2000] = 0
    elif kind == "noise":
        data[half : half + 2000] = np.random.default_rng(seed).integers(0, 256, 2000)
    elif kind == "cut":
        data = np.delete(data, slice(half, data.size - 2))
    else:
        data = np.delete(data, slice(half, half + 2000))
    return data


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["zeros", "noise", "cut", "restart"])
def test_reports_a_half_damaged_jpeg(kind: str, seed: int) -> None:
    decoder = ImageDecoder()
    decoder.decode(SimpleNamespace(format="jpeg", data=damaged(kind, seed)))
    assert "the jpeg data is damaged" in decoder.damage and "check the link" in decoder.damage
    decoder.decode(compressed(".jpg", RGB))
    assert not decoder.damage


@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    ],
)
@pytest.mark.parametrize("quality", [5, 60, 100])
def test_whole_jpegs_show_no_damage(options: tuple[int, ...], quality: int) -> None:
    bars = np.pad(DETAILED, ((64, 64), (0, 0), (0, 0)))
    grey = np.full((240, 320, 3), 128, np.uint8)
    decoder = ImageDecoder()
    for pixels in (DETAILED, bars, grey, np.zeros_like(grey), SMOOTH, DETAILED[..., 0]):
        data = cv2.imencode(".jpg", pixels, (*options, cv2.IMWRITE_JPEG_QUALITY, quality))[1].reshape(-1)
        decoder.decode(SimpleNamespace(format="jpeg", data=data))
        assert not decoder.damage
