"""Whatever a message holds: a picture of the size that it says or an error of ours, and no memory taken first."""

from __future__ import annotations

from types import SimpleNamespace

import messages
import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed (pip install 'hand_depth_ros[test]')")
from fakes import FakeEstimator
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros import topics
from hand_depth_ros.ros.decode import ENCODINGS, MAX_PIXELS, decode_image
from hand_depth_ros.ros.pipeline import process_frame

SIZES = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))
RAW = st.builds(
    lambda **fields: SimpleNamespace(**fields),
    height=SIZES,
    width=SIZES,
    step=st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1)),
    encoding=st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=20)),
    is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=600),
)
HEADS = st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\x00\x11\x08", b"\x89PNG\r\n\x1a\n"])
TAILS = st.sampled_from([b"", b"\xff\xd9", b"IEND\xaeB`\x82"])
COMPRESSED = st.builds(
    lambda format, head, body, tail: SimpleNamespace(format=format, data=head + body + tail),
    st.one_of(
        st.sampled_from(["jpeg", "png", "bayer_rggb8; png", "16UC1; compressedDepth"]), st.text(max_size=20)
    ),
    HEADS,
    st.binary(max_size=300),
    TAILS,
)
NUMBERS = st.floats(width=64)
INFO = st.builds(
    lambda **fields: SimpleNamespace(**{**vars(messages.camera_info()), **fields}),
    width=st.one_of(st.just(32), SIZES),
    height=st.one_of(st.just(24), SIZES),
    k=st.lists(NUMBERS, min_size=9, max_size=9),
    d=st.lists(NUMBERS, max_size=14),
    distortion_model=st.one_of(
        st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", ""]), st.text()
    ),
    binning_x=st.integers(0, 2**32 - 1),
    roi=st.builds(
        lambda **fields: SimpleNamespace(**fields),
        x_offset=SIZES,
        y_offset=SIZES,
        width=SIZES,
        height=SIZES,
        do_rectify=st.booleans(),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(RAW, COMPRESSED))
def test_a_hostile_image_is_a_picture_or_an_error_of_ours(msg: SimpleNamespace) -> None:
    try:
        rgb = decode_image(msg)
    except HandDepthError:
        return
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and 0 < rgb.size <= 3 * MAX_PIXELS
    if not hasattr(msg, "format") and msg.encoding not in ("nv12", "nv21"):
        assert rgb.shape[:2] == (msg.height, msg.width)


@settings(max_examples=200, deadline=None)
@given(INFO)
def test_a_hostile_camera_info_is_depth_of_its_size_or_an_error_of_ours(info: SimpleNamespace) -> None:
    image = messages.image(messages.picture(), "rgb8")
    try:
        outputs = process_frame(FakeEstimator(), image, info, topics.NEED_INFERENCE).outputs
    except HandDepthError:
        return
    assert all(
        (fields["height"], fields["width"]) == (24, 32) for n, fields in outputs.items() if n != topics.POINTS
    )
