"""Hostile messages give an image of the declared size or our error, without a memory peak.

More than 20,000 examples, the same in every run; bench/fuzz.py runs as long as you like.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed (pip install 'hand_depth_ros[test]')")
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import hostile_messages, messages
from support.fuzz_checks import check_camera_info, check_frame, check_image, check_pairing
from support.paths import ROOT


def examples(count: int) -> settings:
    """Run this many examples, the same in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@examples(9000)
@given(hostile_messages.RAW_IMAGES)
def test_hostile_image_decodes_or_raises_our_error(msg: SimpleNamespace) -> None:
    check_image(msg)


@examples(6000)
@given(hostile_messages.COMPRESSED_IMAGES)
def test_hostile_compressed_image_decodes_or_raises_our_error(msg: SimpleNamespace) -> None:
    check_image(msg)


IN_MILLIMETRES = messages.camera_info(hostile_messages.WIDTH, hostile_messages.HEIGHT, f=0.2)


@examples(4000)
@example(IN_MILLIMETRES, False)
@example(IN_MILLIMETRES, True)
@given(hostile_messages.CAMERA_INFOS, st.booleans())
def test_hostile_camera_info_gives_depth_or_raises_our_error(info: SimpleNamespace, rectified: bool) -> None:
    check_camera_info(info, rectified)


@examples(1000)
@given(hostile_messages.IMAGES_OF_SIZE, hostile_messages.CAMERA_INFOS)
def test_hostile_pairs_give_depth_or_raise_our_error(image: SimpleNamespace, info: SimpleNamespace) -> None:
    check_frame(image, info)


@examples(1000)
@given(hostile_messages.STEPS)
def test_image_gets_its_own_or_the_latest_camera_info(
    steps: list[tuple[str, int]],
) -> None:
    check_pairing(steps)


def jpeg_that_claims(side: int) -> bytes:
    """Return 631 bytes with the frame header of an image of side x side."""
    data = bytearray(hostile_messages.FILES[1])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = side.to_bytes(2, "big") * 2
    return bytes(data)


def jpeg_with_two_headers(side: int) -> bytes:
    """Decoders skip RST0; a parser that reads a length there jumps to the second header."""
    data = b"\xff\xd8\xff\xd0" + jpeg_that_claims(side)[2:]
    behind = 4 + int.from_bytes(data[4:6], "big")
    return data.ljust(behind, b"\0") + b"\xff\xc0\0\x11\x08\0\x10\0\x10\x03" + bytes(20) + b"\xff\xd9"


def png_of(*chunks: bytes) -> bytes:
    return hostile_messages.PNG + b"".join(chunks) + hostile_messages.PNG_PIXELS + hostile_messages.PNG_END


CONTROL = hostile_messages.png_chunk(
    b"fcTL", b"\0\0\0\0" + (8000).to_bytes(4, "big") * 2 + bytes(8) + b"\0\1\0\1\0\0"
)
BOMBS = {
    "png far too large": png_of(hostile_messages.png_header(60000, 60000)),
    "png": png_of(hostile_messages.png_header(8000, 8000)),
    "png, 16 bits": png_of(hostile_messages.png_header(8000, 8000, 16, 6)),
    "png, interlaced": png_of(hostile_messages.png_header(8000, 8000, 8, 2, 1)),
    "png, animated": png_of(hostile_messages.png_header(8000, 8000), hostile_messages.ANIMATED, CONTROL),
    "png, size behind another chunk": png_of(
        # as long as a header is, and read as one it says 16 x 16, rgb
        hostile_messages.png_chunk(b"teSt", (16).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"),
        hostile_messages.png_header(8000, 8000),
    ),
    "jpeg far too large": jpeg_that_claims(65000),
    "jpeg": jpeg_that_claims(8000),
    "jpeg, a second header": jpeg_with_two_headers(8000),
    "raw": b"",
}
TRY = """
    import resource, sys
    from types import SimpleNamespace
    import cv2, numpy as np
    from hand_depth_ros.errors import ImageError
    from hand_depth_ros.ros.messages.decode import decode_image

    data = np.frombuffer(sys.stdin.buffer.read(), np.uint8)
    good = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1]
    decode_image(SimpleNamespace(format="jpeg", data=good))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = SimpleNamespace(format="jpeg", data=data)
    if not data.size:
        size = {"height": 8000, "width": 8000, "step": 24000}
        message = SimpleNamespace(**size, encoding="bgr8", is_bigendian=0, data=good)
    try:
        print(decode_image(message).shape)
    except ImageError as error:
        print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_rejects_a_decompression_bomb_before_allocating(name: str) -> None:
    """8000 x 8000 is within the limit: decoding would take 190 MB."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRY)],
        input=BOMBS[name],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    says, memory_mb = process.stdout.decode().splitlines()
    assert any(word in says for word in ("claims", "header", "truncated")), says
    assert int(memory_mb) < 16


def test_fuzzing_script_finds_nothing_and_memory_stays() -> None:
    script = ROOT / "bench" / "fuzz.py"
    process = subprocess.run(
        [sys.executable, str(script), "--examples", "1500", "--seed", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "1500 examples" in process.stdout and "MB" in process.stdout
