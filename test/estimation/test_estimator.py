"""The estimator with stand-in networks whose answer is known.

They predict a flat hand facing the crop's camera, whose depth is a plane with a formula. Where only
the form of the answer counts, networks with random weights are used.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.small_networks import TINY, FakeDepthNet, FakeDetectorNet, by_marks, shake, turned

from hand_depth_ros.errors import CameraError, DeviceError, ImageError
from hand_depth_ros.estimation.device import resolve_device
from hand_depth_ros.estimation.estimator import HandDepthEstimator, HandDepthFrame
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import CropCamera
from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet
from hand_depth_ros.network.detector import DetectorPrediction
from hand_depth_ros.network.hourglass import Prediction

CPU = torch.device("cpu")
PINHOLE = Camera(640, 480, 600.0, 610.0, 322.0, 238.0)
FISHEYE = Camera(640, 480, 280.0, 281.0, 318.0, 243.0, "equidistant", (-0.02, 0.004, -0.002, 0.0004))
CENTRE, CORNER = (250.0, 170.0, 140.0, 140.0), (440.0, 40.0, 120.0, 150.0)
LENGTH, LOG_APPARENT_SIZE, SIDE = 0.18, -0.35, 64


def rigged(detector: FakeDetectorNet | None = None, **options: Any) -> HandDepthEstimator:
    """An estimator around stand-ins; options of FakeDepthNet, ``calibration`` and settings."""
    names = {
        "log_apparent_size",
        "radius",
        "log_length",
        "log_bs",
        "presence",
        "by_colour",
        "wrist_to_knuckles",
    }
    network = FakeDepthNet(
        SIDE, **{"log_apparent_size": LOG_APPARENT_SIZE} | {k: options.pop(k) for k in names & set(options)}
    )
    calibration = options.pop("calibration", {})
    return HandDepthEstimator(network, detector or FakeDetectorNet(), CPU, calibration, **options)  # type: ignore[arg-type]


def black(camera: Camera = PINHOLE) -> np.ndarray:
    return np.zeros((camera.height, camera.width, 3), np.uint8)


def with_spots(*middles: tuple[float, float], camera: Camera = PINHOLE, radius: float = 45) -> np.ndarray:
    y, x = np.mgrid[: camera.height, : camera.width]
    bright = np.zeros(x.shape, bool)
    for cx, cy in middles:
        bright |= (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    return np.repeat((bright * 255).astype(np.uint8)[..., None], 3, 2)


def plane(
    camera: Camera, roi: tuple[float, ...], length: float, log_apparent_size: float = LOG_APPARENT_SIZE
) -> np.ndarray:
    """Return the depth (H, W) of the plane that faces the ray through the box's middle.

    It lies at L * f / S * exp(-log_apparent_size) along that ray.
    """
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1).astype(float)
    normal = camera.unproject(np.array([roi[0] + roi[2] / 2, roi[1] + roi[3] / 2]))
    normal = normal / np.linalg.norm(normal)
    f = CropCamera.from_box(camera, roi, SIDE).f  # type: ignore[arg-type]
    return length * f / SIDE * math.exp(-log_apparent_size) / (camera.unproject(pixels) @ normal)


def equal(a: HandDepthFrame, b: HandDepthFrame) -> bool:
    same = all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in ("depth", "sigma", "mask")
    )
    return same and a.hands == b.hands


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
@pytest.mark.parametrize("roi", [CENTRE, CORNER], ids=["centre", "corner"])
def test_metric_depth_is_the_plane_that_the_network_said(camera: Camera, roi: tuple[float, ...]) -> None:
    frame = rigged(max_range_m=5.0).estimate(black(camera), camera, rois=[roi], hand_length_m=LENGTH)  # type: ignore[list-item]
    seen = frame.mask == 1
    assert seen.sum() > 3000
    np.testing.assert_allclose(frame.depth[seen], plane(camera, roi, LENGTH)[seen], rtol=2e-4)


def test_the_frame_keeps_its_contract() -> None:
    frame = rigged().estimate(black(), PINHOLE, rois=[CENTRE, CORNER])
    for values, kind in ((frame.depth, np.float32), (frame.sigma, np.float32), (frame.mask, np.uint8)):
        assert values.shape == (480, 640) and values.dtype == kind
    assert np.array_equal(np.isnan(frame.depth), frame.mask == 0)
    assert np.array_equal(np.isnan(frame.sigma), np.isnan(frame.depth))
    assert not np.isinf(frame.depth).any() and (frame.sigma[frame.mask > 0] > 0).all()
    assert [hand.id for hand in frame.hands] == [1, 2] == sorted(set(np.unique(frame.mask)) - {0})
    assert frame.timings and all(ms >= 0 for ms in frame.timings.values())


def test_a_hand_says_what_its_pixels_say() -> None:
    frame = rigged().estimate(black(), PINHOLE, rois=[CENTRE, CORNER])
    for hand in frame.hands:
        ys, xs = np.nonzero(frame.mask == hand.id)
        box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
        assert hand.roi == pytest.approx(box)
        assert hand.depth_m == pytest.approx(float(np.median(frame.depth[frame.mask == hand.id])))
        assert hand.score == pytest.approx(1 / (1 + math.exp(-4)), rel=1e-3)  # times how sure the mask is


def test_the_mask_is_as_large_as_the_network_said_and_sharp() -> None:
    frame = rigged(radius=0.3).estimate(black(), PINHOLE, rois=[CENTRE])
    radius = 0.3 * 1.35 * 140 * 0.995  # the box is 140 px, spans the crop with a margin of 1.35
    assert (frame.mask == 1).sum() == pytest.approx(math.pi * radius**2, rel=0.05)
    depth = frame.depth[frame.mask == 1]
    assert np.ptp(depth) < 0.02 * depth.mean()  # no depth between the hand's and nothing's


def test_two_boxes_that_overlap_share_no_pixel_and_mix_no_depth() -> None:
    rois = [(200.0, 150.0, 140.0, 140.0), (260.0, 170.0, 140.0, 140.0)]
    lengths = [0.15, 0.20]
    frame = rigged(max_range_m=5.0).estimate(black(), PINHOLE, rois=rois, hand_length_m=lengths)  # type: ignore[arg-type]
    for number, roi, length in zip((1, 2), rois, lengths, strict=True):
        own = frame.mask == number
        assert own.sum() > 1000
        np.testing.assert_allclose(frame.depth[own], plane(PINHOLE, roi, length)[own], rtol=2e-4)


@pytest.mark.parametrize(("strengths", "owner"), [((8.0, 2.0), 1), ((2.0, 8.0), 2)])
def test_where_two_hands_meet_the_likelier_one_owns_the_pixel(
    strengths: tuple[float, float], owner: int
) -> None:
    network = FakeDepthNet(SIDE)
    network.strengths = strengths
    estimator = HandDepthEstimator(network, FakeDetectorNet(), CPU, {})  # type: ignore[arg-type]
    frame = estimator.estimate(black(), PINHOLE, [(200.0, 150.0, 140.0, 140.0), (260.0, 150.0, 140.0, 140.0)])
    assert frame.mask[220, 300] == owner  # half-way between the boxes' middles
    assert set(np.unique(frame.mask)) == {0, 1, 2}


def test_no_hand_is_nan_everywhere() -> None:
    frame = rigged(by_colour=True).estimate(black(), PINHOLE)
    assert np.isnan(frame.depth).all() and np.isnan(frame.sigma).all()
    assert not frame.mask.any() and frame.hands == ()
    empty = rigged().estimate(black(), PINHOLE, rois=[])
    assert np.isnan(empty.depth).all() and empty.hands == ()


@pytest.mark.parametrize("roi", [(-70.0, 100.0, 140.0, 140.0), (580.0, 420.0, 100.0, 100.0)])
def test_a_box_that_leaves_the_frame_is_measured_where_it_is_in_it(roi: tuple[float, ...]) -> None:
    frame = rigged(max_range_m=5.0).estimate(black(), PINHOLE, rois=[roi], hand_length_m=LENGTH)  # type: ignore[list-item]
    seen = frame.mask == 1
    assert seen.sum() > 500
    np.testing.assert_allclose(frame.depth[seen], plane(PINHOLE, roi, LENGTH)[seen], rtol=2e-4)


def test_a_box_outside_the_frame_is_no_hand() -> None:
    frame = rigged().estimate(black(), PINHOLE, rois=[(900.0, 100.0, 100.0, 100.0)])
    assert frame.hands == () and not frame.mask.any()


def test_boxes_from_outside_skip_the_detector_and_its_opinion() -> None:
    detector = FakeDetectorNet()
    frame = rigged(detector, presence=-2.0).estimate(with_spots((100, 100)), PINHOLE, rois=[CENTRE])
    assert detector.frames_seen == 0 and len(frame.hands) == 1
    assert frame.hands[0].score == pytest.approx(1 / (1 + math.exp(2)), rel=1e-3)


def test_the_hand_length_comes_from_the_call_then_the_setting_then_the_network() -> None:
    estimator = rigged(log_length=0.1, max_range_m=5.0)
    rois = [CENTRE, CORNER]

    def lengths(given: Any = None) -> list[float]:
        return [h.hand_length_m for h in estimator.estimate(black(), PINHOLE, rois, given).hands]  # type: ignore[arg-type]

    guess = 0.19 * math.exp(0.1)
    assert lengths() == pytest.approx([guess, guess])
    assert lengths([0.17, None]) == pytest.approx([0.17, guess])
    estimator.configure(hand_length_m=0.2)
    assert lengths() == pytest.approx([0.2, 0.2])
    assert lengths([None, 0.17]) == pytest.approx([0.2, 0.17])
    assert lengths(0.16) == pytest.approx([0.16, 0.16])


def test_depth_is_in_proportion_to_the_hand_length() -> None:
    estimator = rigged(max_range_m=5.0)
    a, b = (estimator.estimate(black(), PINHOLE, [CENTRE], length).depth for length in (0.15, 0.18))
    seen = np.isfinite(a)
    np.testing.assert_allclose(b[seen] / a[seen], 0.18 / 0.15, rtol=1e-5)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "calibration", [{}, {"relief": 2.0, "apparent_size": 0.5, "length": 1.5}], ids=["raw", "calibrated"]
)
def test_sigma_is_the_deviation_of_depths_drawn_from_what_the_network_said(
    known: bool, calibration: dict[str, float]
) -> None:
    log_bs = (-4.2, -3.8, -3.6)  # logs of the Laplace scales of relief, log scale, log length
    estimator = rigged(log_bs=log_bs, calibration=calibration, max_range_m=5.0)
    frame = estimator.estimate(black(), PINHOLE, [CENTRE], LENGTH if known else None)
    rng, count = np.random.default_rng(0), 200_000
    relief, scale, length = (
        rng.laplace(0, calibration.get(name, 1.0) * math.exp(log_b), count)
        for name, log_b in zip(("relief", "apparent_size", "length"), log_bs, strict=True)
    )
    f = CropCamera.from_box(PINHOLE, CENTRE, SIDE).f
    metres = rng.normal(LENGTH, 0.02 * LENGTH, count) if known else 0.19 * np.exp(length)
    drawn = metres * (f / SIDE * np.exp(-LOG_APPARENT_SIZE - scale) + relief)
    assert frame.sigma[240, 320] == pytest.approx(drawn.std(), rel=0.03)
    (hand,) = frame.hands
    assert hand.hand_length_sigma_m == pytest.approx(metres.std(), rel=0.03)


def test_a_known_hand_is_surer_than_a_guessed_one() -> None:
    estimator = rigged()
    guessed = estimator.estimate(black(), PINHOLE, [CENTRE]).sigma
    known = estimator.estimate(black(), PINHOLE, [CENTRE], 0.19).sigma
    assert np.nanmax(known) < 0.6 * np.nanmin(guessed)


def test_depth_out_of_range_is_invalid_but_stays_hand() -> None:
    estimator = rigged()
    z = np.nanmedian(estimator.estimate(black(), PINHOLE, [CENTRE], LENGTH).depth)
    for limits in ({"max_range_m": 0.9 * z}, {"min_range_m": 1.1 * z}):
        limited = rigged(**{k: float(v) for k, v in limits.items()})
        frame = limited.estimate(black(), PINHOLE, [CENTRE], LENGTH)
        assert np.isnan(frame.depth).all() and np.isnan(frame.sigma).all()
        assert (frame.mask == 1).any() and math.isnan(frame.hands[0].depth_m)


def test_the_range_cuts_pixel_by_pixel() -> None:
    whole = rigged(max_range_m=5.0).estimate(black(FISHEYE), FISHEYE, [CORNER], LENGTH).depth
    limit = float(np.nanmedian(whole))
    cut = rigged(max_range_m=limit).estimate(black(FISHEYE), FISHEYE, [CORNER], LENGTH).depth
    np.testing.assert_array_equal(cut, np.where(whole <= np.float32(limit), whole, np.nan))
    assert 0.3 < np.isfinite(cut).sum() / np.isfinite(whole).sum() < 0.7


def test_pixels_less_sure_than_asked_for_are_invalid() -> None:
    estimator = rigged()
    sigma = float(np.nanmedian(estimator.estimate(black(), PINHOLE, [CENTRE]).sigma))
    estimator.configure(max_sigma_m=0.5 * sigma)
    assert np.isnan(estimator.estimate(black(), PINHOLE, [CENTRE]).depth).all()
    estimator.configure(max_sigma_m=2 * sigma)
    assert np.isfinite(estimator.estimate(black(), PINHOLE, [CENTRE]).depth).any()


def test_a_hand_is_found_and_followed_under_one_id_and_gone_when_it_is_gone() -> None:
    detector = FakeDetectorNet()
    estimator = rigged(detector, by_colour=True, detection_interval=1000, max_hands=1)
    for i in range(12):
        middle = (120.0 + 14 * i, 200.0)
        frame = estimator.estimate(with_spots(middle), PINHOLE)
        (hand,) = frame.hands
        assert hand.id == 1
        x, y, w, h = hand.roi
        assert (x + w / 2, y + h / 2) == pytest.approx(middle, abs=3) and (w, h) == pytest.approx(
            (91, 91), abs=6
        )
    assert detector.frames_seen == 1  # the crop followed the mask
    assert estimator.estimate(black(), PINHOLE).hands == ()


class SeesGhosts(FakeDetectorNet):
    """Is surest of two hands in the upper corners, whatever is there."""

    def forward(self, rgb: torch.Tensor) -> DetectorPrediction:
        prediction = super().forward(rgb)
        for column in (3, prediction.centre.shape[-1] - 4):
            prediction.centre[0, 0, 6, column] = 6.0
            prediction.box[0, 2:, 6, column] = math.log(4.0)
        return prediction


@pytest.mark.parametrize("track", [True, False])
def test_what_the_first_look_shows_to_be_no_hand_takes_no_hands_place(track: bool) -> None:
    estimator = rigged(SeesGhosts(), by_colour=True, max_hands=2)
    for _ in range(3):
        frame = estimator.estimate(with_spots((320, 300)), PINHOLE, track=track)
        (hand,) = frame.hands
        assert hand.roi[0] + hand.roi[2] / 2 == pytest.approx(320, abs=3)


def test_two_hands_have_two_ids_that_stay() -> None:
    estimator = rigged(by_colour=True)
    for i in range(6):
        left, right = (150.0 + 5 * i, 200.0), (480.0 - 5 * i, 260.0)
        frame = estimator.estimate(with_spots(left, right), PINHOLE)
        assert len(frame.hands) == 2
        if i == 0:
            ids = [frame.mask[200, 150], frame.mask[260, 480]]
        assert [frame.mask[200, int(left[0])], frame.mask[260, int(right[0])]] == ids == sorted(ids)


def test_a_second_hand_is_found_at_the_next_turn_of_the_detector() -> None:
    estimator = rigged(by_colour=True, detection_interval=3)
    counts = []
    for i in range(5):
        spots = [(150, 200)] if i == 0 else [(150, 200), (480, 260)]
        counts.append(len(estimator.estimate(with_spots(*spots), PINHOLE).hands))
    assert counts == [1, 1, 1, 2, 2]


def test_what_the_network_does_not_believe_is_no_hand() -> None:
    estimator = rigged(presence=-1.0)
    frame = estimator.estimate(with_spots((150, 200)), PINHOLE)
    assert frame.hands == () and not frame.mask.any() and np.isnan(frame.depth).all()


class DoubtsRed(FakeDepthNet):
    """What is red is perhaps a hand: enough for a second look, too little to be taken for one."""

    def forward(self, rgb: torch.Tensor) -> Prediction:
        out = super().forward(rgb)
        red = (rgb[:, 0] - rgb[:, 2]).mean((1, 2)) > 0.02
        out.scalars[red, 4] = -0.8
        return out


def test_what_the_second_look_does_not_believe_makes_room_for_the_next_best_in_the_same_frame() -> None:
    network = DoubtsRed(SIDE, by_colour=True)
    estimator = HandDepthEstimator(network, FakeDetectorNet(), CPU, {}, max_hands=1)  # type: ignore[arg-type]
    rgb = with_spots((150, 200), radius=60) | with_spots((480, 260))  # the detector likes the larger more
    rgb[:, :320, 2] //= 2
    frame = estimator.estimate(rgb, PINHOLE)
    assert len(frame.hands) == 1 and frame.mask[260, 480] and not frame.mask[200, 150]
    passes = 3  # locate, look around, upright
    assert [len(crops) for crops in network.crops] == 2 * passes * [1]
    network.crops.clear()
    estimator.estimate(rgb, PINHOLE)
    assert len(network.crops) == 1  # the red one isn't looked at again in the next frame


def test_a_hand_that_a_bar_cuts_into_parts_is_one_hand_from_palm_to_fingertip() -> None:
    estimator = rigged(by_colour=True)
    rgb = with_spots((320, 280), radius=60) | with_spots((320, 150), radius=14)
    (hand,) = estimator.estimate(rgb, PINHOLE).hands
    x, y, w, h = hand.roi
    assert (y, y + h) == pytest.approx((136, 340), abs=5) and (x, x + w) == pytest.approx((260, 380), abs=5)
    for _ in range(3):  # and stays one while it is followed
        frame = estimator.estimate(rgb, PINHOLE)
        assert len(frame.hands) == 1 and frame.mask[150, 320] == frame.mask[280, 320] == hand.id


def test_a_bar_that_moves_across_a_followed_hand_leaves_it_one_hand_and_whole_a_frame_later() -> None:
    estimator = rigged(by_colour=True)
    covered = []
    for top in range(100, 360, 12):
        rgb = with_spots((320, 230), radius=80)
        rgb[top : top + 25] = 0
        frame = estimator.estimate(rgb, PINHOLE)
        assert [hand.id for hand in frame.hands] == [1]
        visible = rgb[..., 0] > 0
        covered.append(((frame.mask > 0) & visible).sum() / visible.sum())
    assert min(map(max, pairwise(covered))) > 0.95


def test_a_second_hand_beside_the_first_is_not_taken_for_a_part_of_it() -> None:
    estimator = rigged(by_colour=True)
    rgb = with_spots((150, 240), radius=50) | with_spots((500, 240), radius=50)
    frame = estimator.estimate(rgb, PINHOLE)
    assert len(frame.hands) == 2
    assert frame.mask[240, 150] != frame.mask[240, 500]
    assert all(hand.roi[2] == pytest.approx(100, abs=6) for hand in frame.hands)


def test_the_same_frames_give_the_same_bits_after_a_reset() -> None:
    estimator = rigged(by_colour=True)
    frames = [with_spots((150 + 9 * i, 200), (450, 250 - 7 * i)) for i in range(4)]
    first = [estimator.estimate(rgb, PINHOLE) for rgb in frames]
    estimator.reset()
    again = [estimator.estimate(rgb, PINHOLE) for rgb in frames]
    assert all(map(equal, first, again))
    assert all(len(frame.hands) == 2 for frame in first)


def test_a_look_at_something_else_leaves_the_followed_hands_alone() -> None:
    frames = [with_spots((150 + 9 * i, 200)) for i in range(6)]
    undisturbed = rigged(by_colour=True)
    expected = [undisturbed.estimate(rgb, PINHOLE) for rgb in frames]
    estimator = rigged(by_colour=True)
    for rgb, wanted in zip(frames, expected, strict=True):
        assert equal(estimator.estimate(rgb, PINHOLE), wanted)
        alone = estimator.estimate(with_spots((500, 100), (200, 400)), PINHOLE, track=False)
        assert [hand.id for hand in alone.hands] == [1, 2]
        estimator.estimate(with_spots((500, 100)), PINHOLE, rois=[CORNER])
        estimator.warm_up(Camera(320, 240, 300.0, 300.0, 160.0, 120.0))


def test_the_resolution_may_change_in_the_middle_of_a_stream() -> None:
    estimator = rigged(by_colour=True, detection_interval=5)
    small = Camera(320, 240, 300.0, 305.0, 161.0, 119.0)
    for _ in range(3):
        estimator.estimate(with_spots((500, 400)), PINHOLE)
    frames = [estimator.estimate(with_spots((80, 60), camera=small, radius=24), small) for _ in range(7)]
    assert all(frame.depth.shape == (240, 320) for frame in frames)
    x, y, w, h = frames[-1].hands[0].roi
    assert (x + w / 2, y + h / 2) == pytest.approx((80, 60), abs=3)


def test_pictures_may_be_views_and_are_left_as_they_are() -> None:
    whole = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    copy = whole.copy()
    a = untrained().estimate(whole, PINHOLE, rois=[CENTRE])
    turned = np.ascontiguousarray(whole[:, ::-1])[:, ::-1]
    b = untrained().estimate(turned, PINHOLE, rois=[CENTRE])
    assert equal(a, b) and np.array_equal(whole, copy)


@pytest.mark.parametrize(
    ("rgb", "reason"),
    [
        (np.zeros((480, 640, 3), np.float32), "uint8"),
        (np.zeros((480, 640), np.uint8), "uint8"),
        (np.zeros((480, 640, 4), np.uint8), "uint8"),
        (np.zeros((0, 0, 3), np.uint8), "640x480"),
        (np.zeros((720, 1280, 3), np.uint8), "1280x720"),
        (torch.zeros(480, 640, 3, dtype=torch.uint8), "Tensor"),
        (None, "NoneType"),
    ],
    ids=["float", "grey", "rgba", "empty", "size", "tensor", "none"],
)
def test_a_picture_that_is_none_is_refused(rgb: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        rigged().estimate(rgb, PINHOLE)


@pytest.mark.parametrize("roi", [(0.0, 0.0, 0.0, 10.0), (0.0, 0.0, 10.0, -1.0), (math.nan, 0.0, 10.0, 10.0)])
def test_a_box_that_is_none_is_refused(roi: tuple[float, ...]) -> None:
    with pytest.raises(CameraError, match="box"):
        rigged().estimate(black(), PINHOLE, rois=[roi])  # type: ignore[list-item]


@pytest.mark.parametrize("length", [0.0, 19.0, math.nan, -0.2, [0.19, 0.19], []])
def test_a_hand_length_that_cannot_be_is_refused(length: Any) -> None:
    with pytest.raises(ValueError, match="hand_length_m"):
        rigged().estimate(black(), PINHOLE, rois=[CENTRE], hand_length_m=length)


def test_settings_change_all_or_not_at_all() -> None:
    estimator = rigged()
    before = estimator.settings
    for wrong in ({"max_range_m": 1.5, "max_hands": 0}, {"max_range_m": 1.5, "colour": 1}):
        with pytest.raises(ValueError, match=r"max_hands|colour"):
            estimator.configure(**wrong)  # type: ignore[arg-type]
        assert estimator.settings == before
    estimator.configure(max_range_m=1.5, hand_length_m=0.2)
    assert estimator.settings == dataclasses.replace(before, max_range_m=1.5, hand_length_m=0.2)


def test_settings_that_have_nothing_to_do_with_it_keep_the_followed_hands() -> None:
    detector = FakeDetectorNet()
    estimator = rigged(detector, by_colour=True, detection_interval=1000)
    rgb = with_spots((150, 200))
    estimator.estimate(rgb, PINHOLE)
    estimator.configure(max_range_m=1.9)
    assert len(estimator.estimate(rgb, PINHOLE).hands) == 1 and detector.frames_seen == 1
    estimator.configure(max_hands=1)
    assert len(estimator.estimate(rgb, PINHOLE).hands) == 1


def with_hand(
    middle: tuple[float, float], angle: float, marks: bool = True, camera: Camera = PINHOLE
) -> np.ndarray:
    """Draw a bright oblong of 120 by 60 px, turned clockwise by ``angle`` from upright.

    With ``marks`` it is blue at the wrist and red above.
    """
    picture = black(camera)
    right, up = np.array((math.cos(angle), math.sin(angle))), np.array((math.sin(angle), -math.cos(angle)))
    t = np.linspace(0, 2 * math.pi, 90)
    outline = middle + 60 * np.cos(t)[:, None] * up + 30 * np.sin(t)[:, None] * right
    cv2.fillPoly(picture, [np.round(outline).astype(np.int32)], (255, 255, 255))
    for along, colour in ((-40, (150, 150, 255)), (25, (255, 150, 150))) if marks else ():
        x, y = (round(float(v)) for v in middle + along * up)
        cv2.circle(picture, (x, y), 12, colour, -1)
    return picture


def looks(estimator: HandDepthEstimator) -> list[torch.Tensor]:
    """The crops that the stand-in network was shown since the last time, one tensor a call."""
    network: Any = estimator._predictor._network
    crops: list[torch.Tensor] = network.network.crops
    taken, crops[:] = list(crops), []
    return taken


def leaning(crop: torch.Tensor) -> float:
    """By how many degrees the marked hand in a crop (3, S, S) is turned clockwise from upright."""
    right, down = by_marks(crop[None])[0].tolist()
    assert math.hypot(right, down) > 0.3
    return math.degrees(math.atan2(right, -down))


def extents(crop: torch.Tensor) -> tuple[float, float, float, float]:
    """Of what is bright in a crop: middle x, y, width, height."""
    rows, columns = (np.flatnonzero((crop.mean(0) > 0.5).any(axis).numpy()) for axis in (1, 0))
    x0, x1, y0, y1 = columns[0], columns[-1], rows[0], rows[-1]
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0 + 1, y1 - y0 + 1


def off(degrees: float) -> float:
    return abs(math.remainder(degrees, 360))


TURNS = [0.0, 0.8, math.pi / 2, 3.0, -2.2]


@pytest.mark.parametrize("angle", TURNS)
def test_a_new_hand_is_looked_at_again_upright_and_filling_the_crop(angle: float) -> None:
    estimator = rigged(by_colour=True, wrist_to_knuckles=by_marks)
    frame = estimator.estimate(with_hand((250, 210), angle), PINHOLE)
    (first,), (wide,), (second,) = looks(estimator)
    assert max(extents(wide)[2:]) == pytest.approx(max(extents(first)[2:]) / 1.8, rel=0.25)
    assert off(leaning(first) - math.degrees(angle)) < 4  # as it is in the frame
    assert off(leaning(second)) < 3
    assert extents(second) == pytest.approx((31.5, 31.5, SIDE / 1.35 / 2, SIDE / 1.35), abs=2)
    (hand,) = frame.hands
    bright = with_hand((250, 210), angle)[..., 0] > 0
    assert (frame.mask == hand.id).sum() == pytest.approx(bright.sum(), rel=0.06)
    assert ((frame.mask > 0) & bright).sum() > 0.94 * bright.sum()


def test_a_hand_that_turns_is_followed_upright_a_frames_turn_behind() -> None:
    detector = FakeDetectorNet()
    estimator = rigged(detector, by_colour=True, wrist_to_knuckles=by_marks, detection_interval=1000)
    step = math.radians(15)
    for i in range(28):  # a whole turn and more
        frame = estimator.estimate(with_hand((200 + 6 * i, 230), step * i), PINHOLE)
        *_, (crop,) = looks(estimator)
        assert [hand.id for hand in frame.hands] == [1]
        assert off(leaning(crop) - (15 if i else 0)) < 4
    assert detector.frames_seen == 1


def test_where_no_way_is_up_a_hand_is_looked_at_as_before() -> None:
    """The marks vanish, as where fingers point at the camera; the oblong stays upright."""
    estimator = rigged(by_colour=True, wrist_to_knuckles=by_marks, detection_interval=1000)
    estimator.estimate(with_hand((250, 210), 0.9), PINHOLE)
    looks(estimator)
    for _ in range(5):
        estimator.estimate(with_hand((250, 210), 0.9, marks=False), PINHOLE)
        ((crop,),) = looks(estimator)
        _, _, width, height = extents(crop)
        assert width / height == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("length", "believed"), [(0.1, False), (0.2, True)])
def test_only_a_palm_that_is_long_enough_tells_which_way_is_up(length: float, believed: bool) -> None:
    """A tenth of a hand that fills the crop but for its margin, 0.148 of a crop that is 2 wide."""
    estimator = rigged(wrist_to_knuckles=turned(math.pi / 2, length))
    estimator.estimate(with_hand((320, 240), 0.0), PINHOLE, rois=[(260.0, 180.0, 120.0, 120.0)])
    (first,), (second,) = looks(estimator)
    assert off(leaning(first)) < 3
    assert off(leaning(second) - (-90 if believed else 0)) < 3


def test_a_hand_that_was_lost_is_looked_at_anew_from_the_detectors_box() -> None:
    estimator = rigged(by_colour=True, wrist_to_knuckles=by_marks, detection_interval=1000, max_hands=1)
    for _ in range(3):
        estimator.estimate(with_hand((150, 150), 2.0), PINHOLE)
    for _ in range(2):
        frame = estimator.estimate(with_hand((330, 260), -1.0), PINHOLE)
    (first,), (second,) = looks(estimator)[-2:]
    assert off(leaning(first) - math.degrees(-1.0)) < 4 and off(leaning(second)) < 3
    assert frame.hands[0].id == 1  # it was near enough to be the same


def test_boxes_from_outside_are_looked_at_twice_all_of_them_at_once_where_up_is_known() -> None:
    picture = np.maximum(with_hand((150, 200), 1.2), with_hand((450, 260), -0.7))
    rois = [(90.0, 140.0, 120.0, 120.0), (390.0, 200.0, 120.0, 120.0)]
    estimator = rigged(wrist_to_knuckles=by_marks, by_colour=True)
    frame = estimator.estimate(picture, PINHOLE, rois=rois)
    first, second = looks(estimator)
    assert [off(leaning(a) - math.degrees(b)) < 4 for a, b in zip(first, (1.2, -0.7), strict=True)] == [
        True
    ] * 2
    assert all(off(leaning(crop)) < 3 for crop in second) and len(second) == 2
    assert [hand.id for hand in frame.hands] == [1, 2]
    assert equal(frame, estimator.estimate(picture, PINHOLE, rois=rois))  # nothing is remembered
    looks(estimator)
    estimator.estimate(picture, PINHOLE, rois=[])
    assert looks(estimator) == []
    once = rigged(by_colour=True)  # a network without joints
    once.estimate(picture, PINHOLE, rois=rois)
    assert len(looks(once)) == 1


def test_a_box_from_outside_gives_way_to_the_mask_in_it_only_where_they_are_about_the_same() -> None:
    def second(hand: tuple[float, float], roi: tuple[float, ...]) -> tuple[float, float, float, float]:
        estimator = rigged(wrist_to_knuckles=by_marks, by_colour=True)
        estimator.estimate(with_spots(hand, radius=40), PINHOLE, rois=[roi])  # type: ignore[list-item]
        return extents(looks(estimator)[1][0])

    near, far = (
        second((300, 240), (240.0, 190.0, 110.0, 110.0)),
        second((350, 270), (180.0, 150.0, 200.0, 200.0)),
    )
    assert near == pytest.approx((31.5, 31.5, SIDE / 1.35, SIDE / 1.35), abs=2)
    k = SIDE / (1.35 * 200)  # crop pixels in one of the frame
    assert far == pytest.approx((31.5 + 70 * k, 31.5 + 20 * k, 80 * k, 80 * k), abs=1.5)


@pytest.mark.parametrize("angle", TURNS)
def test_metric_depth_in_a_turned_crop_is_the_plane_that_the_network_said(angle: float) -> None:
    """A turned box on the optical axis takes up cos + sin as much, so it is that much nearer."""
    camera, half = Camera(640, 480, 600.0, 600.0, 319.5, 239.5), 70.0
    estimator = rigged(
        wrist_to_knuckles=turned(angle), radius=0.2, max_range_m=5.0
    )  # a mask too small for the box to give way
    roi = (camera.cx - half, camera.cy - half, 2 * half, 2 * half)
    frame = estimator.estimate(black(camera), camera, rois=[roi], hand_length_m=LENGTH)
    seen = frame.mask == 1
    extent = 2 * half / camera.fx * (abs(math.cos(angle)) + abs(math.sin(angle)))
    assert seen.sum() == pytest.approx(math.pi * (0.2 * 1.35 * extent * camera.fx) ** 2, rel=0.05)
    np.testing.assert_allclose(
        frame.depth[seen], LENGTH / (1.35 * extent) * math.exp(-LOG_APPARENT_SIZE), rtol=1e-4
    )


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
@pytest.mark.parametrize("angle", TURNS)
def test_a_plane_stays_one_however_the_crop_is_turned(camera: Camera, angle: float) -> None:
    estimator = rigged(wrist_to_knuckles=turned(angle), max_range_m=5.0)
    frame = estimator.estimate(black(camera), camera, rois=[CORNER], hand_length_m=LENGTH)
    seen = frame.mask == 1
    rows, columns = np.nonzero(seen)
    points = camera.unproject(np.column_stack((columns, rows))) * frame.depth[seen][:, None].astype(float)
    normal = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][2]
    distance = abs(points.mean(0) @ normal)
    assert len(points) > 2000 and np.abs((points - points.mean(0)) @ normal).max() < 2e-4 * distance
    axis = camera.unproject(np.array((CORNER[0] + CORNER[2] / 2, CORNER[1] + CORNER[3] / 2)))
    assert abs(axis @ normal) / np.linalg.norm(axis) > math.cos(math.radians(2))  # it faces the box's ray


def untrained(device: str = "cpu") -> HandDepthEstimator:
    """Use the real networks with random weights; about half of their pixels are "hand"."""
    torch.manual_seed(11)
    network, detector = HandDepthNet(TINY), HandDetectorNet(DetectorConfig(features=4))
    crops = torch.rand(4, 3, 32, 32)
    shake(network, crops)
    with torch.no_grad():
        network.last[0].bias[:4] -= network(0.5 + 0.2 * (crops - 0.5)).final.mask.median()
    return HandDepthEstimator(
        network, detector.eval(), resolve_device(device), {}, max_range_m=100.0, min_range_m=0.0
    )


def test_the_real_network_gives_the_same_bits_for_the_same_frame() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    one, other = untrained(), untrained()
    first = one.estimate(rgb, PINHOLE, rois=[CENTRE, CORNER])
    assert np.isfinite(first.depth).any()
    assert equal(first, one.estimate(rgb, PINHOLE, rois=[CENTRE, CORNER]))
    assert equal(first, other.estimate(rgb, PINHOLE, rois=[CENTRE, CORNER]))


def test_an_untrained_estimator_runs_the_whole_way_and_leaves_the_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    estimator = HandDepthEstimator.untrained(seed=0, device="cpu", network=TINY, max_hands=1)
    assert torch.equal(state, torch.get_rng_state())
    frame = estimator.estimate(with_spots((150, 200)), PINHOLE)
    assert frame.depth.shape == (480, 640)
    estimator.close()


def test_a_network_with_a_backbone_runs_the_whole_way() -> None:
    network = dataclasses.replace(TINY, crop_size=128, joints=True, backbone=True)
    estimator = HandDepthEstimator.untrained(network=network, max_range_m=100.0, min_range_m=0.0)
    rgb = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    frame, again = (estimator.estimate(rgb, PINHOLE, rois=[CENTRE, CORNER]) for _ in range(2))
    assert equal(frame, again)
    assert np.isfinite(frame.depth).any() and np.array_equal(np.isnan(frame.depth), frame.mask == 0)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "", "mps"])
def test_a_device_that_is_not_there_is_an_error_that_says_so(device: str) -> None:
    with pytest.raises(DeviceError, match="auto"):
        resolve_device(device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_cuda_gives_the_depth_of_the_cpu() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    a, b = (untrained(d).estimate(rgb, PINHOLE, rois=[CENTRE, CORNER]) for d in ("cpu", "cuda"))
    both, either = (a.mask > 0) & (b.mask > 0), (a.mask > 0) | (b.mask > 0)
    assert both.sum() > 0.97 * either.sum()
    difference = np.abs(a.depth - b.depth)[both & np.isfinite(a.depth) & np.isfinite(b.depth)]
    assert np.median(difference) < 0.002 * np.nanmedian(a.depth)


@pytest.mark.parametrize("rois", [[(1, 2, 3)], (81, 193, 140, 132), [("a", 1, 2, 3)]])
def test_boxes_that_are_none_are_named(rois: object) -> None:
    estimator = HandDepthEstimator.untrained()
    with pytest.raises(CameraError, match="not a box"):
        estimator.estimate(np.zeros((48, 64, 3), np.uint8), Camera.from_hfov(64, 48, 60.0), rois=rois)


@pytest.mark.filterwarnings("error")
def test_a_picture_that_cannot_be_written_to_is_taken_without_a_word() -> None:
    rgb = np.frombuffer(bytes(48 * 64 * 3), np.uint8).reshape(48, 64, 3)
    HandDepthEstimator.untrained().estimate(rgb, Camera.from_hfov(64, 48, 60.0), rois=[(10, 10, 20, 20)])
