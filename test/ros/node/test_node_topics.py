"""The node's outputs over DDS: topics, encodings, headers, camera_info; and bad input.

One node process serves the module; inside it is the fake estimator, whose depth is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from support import messages, ros_graph
from support.fakes import CRASH_AT, DEPTH_M, RADIUS, SIGMA_M, disc_centres

from hand_depth_ros.ros.messages import topics

WIDTH, HEIGHT, F = 96, 72, 90.0
RGB = messages.sample_rgb(HEIGHT, WIDTH)
KINDS = {kind.__name__: kind for kind in (Image, CompressedImage, CameraInfo, PointCloud2)}


class Camera:
    """The test's colour camera and its ears on every output of the node."""

    def __init__(self) -> None:
        domain = ros_graph.some_domain()
        self.node = ros_graph.NodeProcess(domain, "-p", "max_hands:=1", "-p", "points_organized:=true")
        self.client = ros_graph.Client(domain)
        self.heard = {
            topic.name: self.client.listen(topic.name, KINDS[topic.type.rsplit("/", 1)[-1]])
            for topic in topics.OUTPUT_TOPICS
        }
        self.debug_info = self.client.listen("debug/camera_info", CameraInfo)

    def close(self) -> None:
        self.client.close()
        self.node.stop()

    def show(
        self, image: SimpleNamespace | None = None, info: SimpleNamespace | None = None, **how: Any
    ) -> int:
        """Publish a frame, camera_info first. Returns its stamp."""
        stamp = how.get("stamp") or self.client.next_stamp()
        frame_id = how.get("frame_id", "camera_optical")
        reliable = how.get("reliable", True)
        info = info or messages.camera_info(WIDTH, HEIGHT, F)
        info_stamp = stamp + how.get("info_late_ns", 0)
        if not how.get("no_info"):
            message = ros_graph.to_camera_info(info, info_stamp, how.get("info_frame_id", frame_id))
            self.client.publisher("camera_info", CameraInfo, reliable).publish(message)
        image = image or messages.image(RGB, "rgb8")
        self.client.publisher("image", Image, reliable).publish(ros_graph.to_image(image, stamp, frame_id))
        return stamp

    def frame(self, *what: Any, **how: Any) -> dict[str, Any]:
        """Show a frame until its outputs have all come: topic -> message, all of one stamp."""
        shown: list[int] = []

        def whole() -> set[int]:
            return set(shown).intersection(
                *({ros_graph.stamp_of(m) for m in heard} for heard in self.heard.values())
            )

        self.client.spin_until(whole, lambda: shown.append(self.show(*what, **how)), every=1.0)
        stamp = max(whole())
        return {
            name: next(m for m in reversed(heard) if ros_graph.stamp_of(m) == stamp)
            for name, heard in self.heard.items()
        }

    def refused(self, text: str, *what: Any, **how: Any) -> None:
        """Show a frame until the log says why it is refused; then none of those shown may have come
        out."""
        shown: list[int] = []
        before = self.node.output.count(text)
        self.client.spin_until(
            lambda: self.node.output.count(text) > before,
            lambda: shown.append(self.show(*what, **how)),
            every=1.0,
        )
        outputs = self.frame()  # whatever else came out was before this
        came_out = {ros_graph.stamp_of(m) for heard in self.heard.values() for m in heard}
        assert not came_out.intersection(shown)
        assert ros_graph.stamp_of(outputs[topics.DEPTH_MM]) > max(shown)


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    camera = Camera()
    try:
        camera.frame()
        yield camera
    finally:
        print(camera.node.output)
        camera.close()


def pixels(message: Image) -> np.ndarray:
    dtype, channels = {"16UC1": ("<u2", 1), "32FC1": ("<f4", 1), "mono8": ("u1", 1), "rgb8": ("u1", 3)}[
        message.encoding
    ]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize and message.is_bigendian == 0
    assert len(message.data) == message.step * message.height
    image = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return image[..., 0] if channels == 1 else image


def disc(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ((cx, cy),) = disc_centres(width, height, 1)
    return (x - cx) ** 2 + (y - cy) ** 2 < (RADIUS * height) ** 2


def points(message: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """x y z and r g b, (H, W, 3) each, of an organised cloud."""
    shape = (message.height, message.width, message.point_step)
    raw = np.frombuffer(message.data, np.uint8).reshape(shape)
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        (n, 4 * i, 7, 1) for i, n in enumerate(("x", "y", "z", "rgb"))
    ]
    return np.ascontiguousarray(raw[..., :12]).view("<f4"), raw[..., [14, 13, 12]]


def test_every_topic_has_its_encoding_and_the_images_size(camera: Camera) -> None:
    outputs = camera.frame()
    for topic in topics.OUTPUT_TOPICS:
        message = outputs[topic.name]
        if topic.name in topics.COMPRESSED:
            continue  # tested in test_compressed_depth.py
        assert (message.width, message.height) == (WIDTH, HEIGHT)
        if topic.is_image:
            assert message.encoding == topic.encoding
            pixels(message)


def test_depth_is_right_and_invalid_is_zero_or_nan(camera: Camera) -> None:
    outputs = camera.frame()
    hand = disc(WIDTH, HEIGHT)
    assert np.array_equal(pixels(outputs[topics.DEPTH_MM]), np.where(hand, round(1000 * DEPTH_M), 0))
    for name, value in ((topics.DEPTH_M, DEPTH_M), (topics.SIGMA, SIGMA_M)):
        expected = np.where(hand, np.float32(value), np.float32(np.nan))
        assert np.array_equal(pixels(outputs[name]), expected, equal_nan=True)
    assert np.array_equal(pixels(outputs[topics.HAND_MASK]) > 0, hand)
    assert not np.array_equal(pixels(outputs[topics.DEBUG]), RGB)


def test_points_are_the_plane_that_the_depth_says(camera: Camera) -> None:
    xyz, rgb = points(camera.frame()[topics.POINTS])
    v, u = np.nonzero(disc(WIDTH, HEIGHT))
    expected = DEPTH_M * np.stack(
        ((u - (WIDTH - 1) / 2) / F, (v - (HEIGHT - 1) / 2) / F, np.ones(u.size)), -1
    )
    assert np.abs(xyz[v, u] - expected).max() < 1e-5
    assert np.isnan(xyz[~disc(WIDTH, HEIGHT)]).all() and np.array_equal(rgb, RGB)


def test_all_outputs_carry_the_images_header(camera: Camera) -> None:
    outputs = camera.frame(frame_id="wrist_color_optical_frame", info_frame_id="another_frame")
    headers = [message.header for message in outputs.values()]
    assert all(header == headers[0] for header in headers)
    assert headers[0].frame_id == "wrist_color_optical_frame"


def test_camera_info_is_the_colour_cameras_but_for_the_header(camera: Camera) -> None:
    roi = SimpleNamespace(x_offset=10, y_offset=8, width=2 * WIDTH, height=2 * HEIGHT, do_rectify=True)
    info = messages.camera_info(
        400, 300, F, roi=roi, binning_x=2, binning_y=2, d=[0.1, -0.02, 0.001, 0.0, 0.0]
    )
    sent = ros_graph.to_camera_info(info, 0)
    got = camera.frame(None, info)[topics.CAMERA_INFO]
    for field in set(CameraInfo.get_fields_and_field_types()) - {"header"}:
        assert np.array_equal(getattr(got, field), getattr(sent, field)), field


def test_every_image_topic_has_its_sibling(camera: Camera) -> None:
    names = {topics.sibling_camera_info(topic.name) for topic in topics.OUTPUT_TOPICS if topic.is_image}
    # hand_mask's sibling is the camera_info that this camera publishes itself.
    assert names == {topics.CAMERA_INFO, "debug/camera_info", "camera_info"}
    stamp = ros_graph.stamp_of(camera.frame()[topics.DEBUG])
    camera.client.spin_until(lambda: stamp in map(ros_graph.stamp_of, camera.debug_info))
    publishers = camera.client.node.get_publishers_info_by_topic("/camera_info")
    assert {info.node_name for info in publishers} == {camera.client.node.get_name()}


BLOCKS = np.repeat(np.repeat(RGB[::2, ::2], 2, 0), 2, 1)
ALPHA = np.full((HEIGHT, WIDTH, 1), 9, np.uint8)
ENCODINGS = {
    "rgb8": (RGB, RGB, 0),
    "bgr8": (RGB[..., ::-1], RGB, 0),
    "bgra8": (np.concatenate((RGB[..., ::-1], ALPHA), -1), RGB, 0),
    "mono8": (RGB[..., 0], np.repeat(RGB[..., :1], 3, -1), 0),
    "yuyv": (messages.yuyv(BLOCKS), BLOCKS, 4),
    "bayer_rggb8": (
        messages.mosaic(np.full_like(RGB, (90, 140, 60)), "rggb"),
        np.full_like(RGB, (90, 140, 60)),
        0,
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decodes_every_encoding_with_padded_rows(camera: Camera, encoding: str) -> None:
    sent, seen, tolerance = ENCODINGS[encoding]
    _, rgb = points(camera.frame(messages.image(sent, encoding, pad=11))[topics.POINTS])
    assert np.abs(rgb[2:-2, 2:-2].astype(int) - seen[2:-2, 2:-2]).max() <= tolerance


def test_changed_intrinsics_apply_from_their_own_frame(camera: Camera) -> None:
    for f in (F, 2 * F, F):
        info = messages.camera_info(WIDTH, HEIGHT, f)
        outputs = camera.frame(None, info)
        xyz, _ = points(outputs[topics.POINTS])
        v, u = np.argwhere(disc(WIDTH, HEIGHT))[0]
        assert xyz[v, u, 0] == pytest.approx(DEPTH_M * (u - (WIDTH - 1) / 2) / f, abs=1e-5)
        assert outputs[topics.CAMERA_INFO].k[0] == f


def test_uses_the_latest_camera_info_where_stamps_differ(camera: Camera) -> None:
    outputs = camera.frame(None, messages.camera_info(WIDTH, HEIGHT, 77.0), info_late_ns=-5_000_000)
    assert outputs[topics.CAMERA_INFO].k[0] == 77.0
    assert outputs[topics.CAMERA_INFO].header == outputs[topics.DEPTH_MM].header
    assert camera.frame(no_info=True)[topics.CAMERA_INFO].k[0] == 77.0


def test_resolution_changes_in_mid_stream(camera: Camera) -> None:
    for width, height in ((40, 30), (WIDTH, HEIGHT)):
        image = messages.image(messages.sample_rgb(height, width), "rgb8")
        outputs = camera.frame(image, messages.camera_info(width, height, F))
        assert np.array_equal(pixels(outputs[topics.DEPTH_MM]) > 0, disc(width, height))
        assert outputs[topics.CAMERA_INFO].width == width


def spoilt(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(messages.image(RGB, "rgb8")), **fields})


NAN = [float("nan")] * 9
BAD_INPUT = {
    "empty data": ("/image: data is empty", spoilt(data=np.zeros(0, np.uint8)), None),
    "truncated data": ("it is truncated", spoilt(data=np.zeros(999, np.uint8)), None),
    "wrong step": ("/image: step is 17", spoilt(step=17), None),
    "unknown encoding": ("/image: encoding 'rgb7'", spoilt(encoding="rgb7"), None),
    "no pixels": ("/image: the image is 0x0", spoilt(width=0, height=0, step=0), None),
    "zero K": ("/camera_info: camera_info.k[0]", None, messages.camera_info(WIDTH, HEIGHT, 0.0)),
    "NaN K": ("/camera_info: camera_info.k[0] is nan", None, messages.camera_info(WIDTH, HEIGHT, F, k=NAN)),
    "another size": ("/camera_info: camera_info is 64x48", None, messages.camera_info(64, 48, F)),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_gives_a_message_and_no_output(camera: Camera, fault: str) -> None:
    text, image, info = BAD_INPUT[fault]
    camera.refused(text, image, info)


def test_a_message_is_not_repeated_every_frame(camera: Camera) -> None:
    """The same fault in another size is still the same fault: ten frames give at most a line in ten
    seconds."""
    text = "/image: encoding 'rgb9'"
    for _ in range(10):
        camera.show(spoilt(encoding="rgb9"))
        camera.client.spin_for(0.05)
    camera.frame()
    assert camera.node.output.count(text) <= 2


def test_a_model_that_raises_costs_one_frame(camera: Camera) -> None:
    width, height = CRASH_AT
    image = messages.image(messages.sample_rgb(height, width), "rgb8")
    camera.refused(
        "RuntimeError: the stand-in was made to fail", image, messages.camera_info(width, height, F)
    )


def test_a_stamp_that_jumps_back_resets_tracking(camera: Camera) -> None:
    before = pixels(camera.frame()[topics.HAND_MASK]).max()
    back = camera.client.next_stamp() - 1_000_000_000
    camera.client.spin_until(
        lambda: "the stamp jumps back" in camera.node.output, lambda: camera.show(stamp=back)
    )
    camera.show(stamp=back + 1)
    camera.client.spin_until(
        lambda: any(ros_graph.stamp_of(m) == back + 1 for m in camera.heard[topics.HAND_MASK]),
        lambda: camera.show(stamp=back + 1),
    )
    after = camera.heard[topics.HAND_MASK][-1]
    assert pixels(after).max() > before  # the fake numbers its discs by the resets it has seen
    assert back not in map(ros_graph.stamp_of, camera.heard[topics.HAND_MASK])
    assert pixels(camera.frame()[topics.HAND_MASK]).max() == pixels(after).max()


def test_a_stamp_far_ahead_resets_tracking(camera: Camera) -> None:
    before = pixels(camera.frame()[topics.HAND_MASK]).max()
    ahead = camera.client.next_stamp() + 3_600_000_000_000
    camera.client.spin_until(
        lambda: ahead in map(ros_graph.stamp_of, camera.heard[topics.HAND_MASK]),
        lambda: camera.show(stamp=ahead),
    )
    mask = next(m for m in camera.heard[topics.HAND_MASK] if ros_graph.stamp_of(m) == ahead)
    assert pixels(mask).max() > before  # a reset, and the frame itself is not left out
    assert "the stamp jumps ahead by 36" in camera.node.output
    assert pixels(camera.frame()[topics.HAND_MASK]).max() > pixels(mask).max()


def test_receives_a_best_effort_camera_that_comes_later(camera: Camera) -> None:
    for topic in ("image", "camera_info"):
        camera.client.drop_publisher(topic)
    camera.frame(reliable=False)
    assert "/image: subscribing best_effort, volatile" in camera.node.output
    for topic in ("image", "camera_info"):
        camera.client.drop_publisher(topic, reliable=False)
    camera.frame()


def test_a_best_effort_subscriber_receives_the_depth(camera: Camera) -> None:
    with camera.client.listening(topics.DEPTH_MM, Image, reliable=False) as heard:
        camera.client.spin_until(lambda: heard, camera.show)
    assert heard[0].encoding == "16UC1"


def test_the_node_still_runs_and_has_no_traceback(camera: Camera) -> None:
    assert camera.node.running and "Traceback" not in camera.node.output
