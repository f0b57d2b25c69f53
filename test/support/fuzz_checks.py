"""Check what must hold for any message. Each check takes one example and returns its outcome.

The oracles are written from the meaning of the fields, not from the code. Used by the tests and by
bench/fuzz.py.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.encodings import MAX_PIXELS
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.settings import OutputSettings
from hand_depth_ros.ros.node.camera_infos import KEPT, CameraInfos
from support import hostile_messages, messages
from support.fakes import FakeEstimator

REFUSED = "refused"
PIXELS_A_BYTE = 1032 * 8
"""Upper bound for any file: one bit a pixel, at deflate's best ratio."""
BYTES_A_PIXEL = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}
EVERYTHING = frozenset(topic.name for topic in topics.OUTPUT_TOPICS)
ESTIMATOR = FakeEstimator()
"""Gives depth for whatever reaches it: depth means that the messages were accepted."""


def check_image(msg: SimpleNamespace) -> str:
    """Expect an image of the stated size, which its bytes can hold, or an error of ours."""
    try:
        rgb = decode_image(msg)
    except HandDepthError as error:
        assert 0 < len(str(error)) < 1000
        return REFUSED
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.flags.c_contiguous
    height, width = rgb.shape[:2]
    assert 0 < width * height <= MAX_PIXELS
    if hasattr(msg, "format"):
        assert width * height <= PIXELS_A_BYTE * len(msg.data)
        return "compressed image"
    rows = msg.height
    if msg.encoding in ("nv12", "nv21"):  # its height may count the rows of chroma
        assert (height, width) in ((msg.height, msg.width), (msg.height * 2 // 3, msg.width))
        rows = height * 3 // 2
    else:
        assert (height, width) == (msg.height, msg.width)
    assert width * bytes_a_pixel(msg.encoding) <= msg.step
    assert msg.step * (rows - 1) < len(msg.data) <= msg.step * rows
    return "raw image"


def bytes_a_pixel(encoding: str) -> int:
    """Return it by the names of sensor_msgs/image_encodings.hpp, without chroma planes."""
    if encoding in ("uyvy", "yuv422", "yuyv", "yuv422_yuy2"):
        return 2
    samples = BYTES_A_PIXEL.get(encoding.rstrip("0123456789"), 1)
    return samples * (2 if encoding.endswith("16") else 1)


def check_camera_info(info: SimpleNamespace, rectified: bool = False) -> str:
    """Expect depth only where the camera_info describes the image, else an error of ours."""
    image = messages.image(messages.sample_rgb(hostile_messages.HEIGHT, hostile_messages.WIDTH), "rgb8")
    return check_frame(image, info, rectified)


def check_frame(image: SimpleNamespace, info: SimpleNamespace, rectified: bool = False) -> str:
    """Expect valid outputs or an error of ours from the node's pipeline with a fake estimator."""
    settings = OutputSettings(image_is_rectified=rectified, points_organized=bool(info.binning_x % 2))
    try:
        outputs = process_frame(ESTIMATOR, image, info, EVERYTHING, settings).outputs
    except HandDepthError as error:
        assert 0 < len(str(error)) < 1000
        return REFUSED
    assert_sane(info, rectified)
    shapes = {(outputs[name]["height"], outputs[name]["width"]) for name in (topics.DEPTH_MM, topics.DEPTH_M)}
    assert shapes == {size_of(info)}
    metres = outputs[topics.DEPTH_M]["data"].view("<f4")
    seen = metres[~np.isnan(metres)]
    assert np.isfinite(seen).all() and (seen > 0.0).all()
    points = outputs[topics.POINTS]
    assert points["height"] * points["width"] * 16 == points["data"].size
    return "depth"


def size_of(info: SimpleNamespace) -> tuple[int, int]:
    """Return the (height, width) of the image that a camera_info describes (REP 104)."""
    roi = info.roi
    whole = not (roi.x_offset or roi.y_offset or roi.width or roi.height)
    height, width = (info.height, info.width) if whole else (roi.height, roi.width)
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def assert_sane(info: SimpleNamespace, rectified: bool) -> None:
    """Assert that the intrinsics in the fields in use are those of a real lens."""
    fx, fy, cx, cy = (info.p[i] for i in (0, 5, 2, 6)) if rectified else (info.k[i] for i in (0, 4, 2, 5))
    assert all(map(math.isfinite, (fx, fy, cx, cy))) and 0.0 < fx < 1e12 and 0.0 < fy < 1e12
    height, width = size_of(info)
    assert fx > 0.01 * width * max(info.binning_x, 1) and fy > 0.01 * height * max(info.binning_y, 1)
    if not rectified:
        used = max((i + 1 for i, value in enumerate(info.d) if value), default=0)
        assert all(map(math.isfinite, info.d)) and used <= 14
        known = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye", "none", "")
        assert used == 0 or info.distortion_model in known


def check_pairing(steps: list[tuple[str, int]]) -> str:
    """Expect the camera_info of the image's stamp while remembered, else the latest."""
    infos, heard, since_clear = CameraInfos(), [], 0
    outcome = "nothing heard"
    for number, (what, stamp) in enumerate(steps):
        if what == "info":
            header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9))
            heard.append((stamp, number))
            infos.add(SimpleNamespace(header=header, number=number))
        elif what == "clear":
            infos.clear()
            since_clear = len(heard)
        else:
            found = infos.match(stamp)
            if not heard:
                assert found is None
                continue
            of_this_stamp = [n for s, n in heard[since_clear:][-KEPT:] if s == stamp]
            assert found.number == (of_this_stamp or [heard[-1][1]])[-1]
            outcome = "exact" if of_this_stamp else "latest"
    return outcome


def resident_mb(pid: int | str = "self") -> float:
    """Return the resident memory of a process, MB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6


def accounted(values: dict[str, Any]) -> bool:
    """Return True if the node's counters add up: in = out + dropped + refused + no subscriber."""
    kinds = ("published", "dropped", "refused", "without subscriber")
    return int(values["received"]) == sum(int(values[kind]) for kind in kinds)
