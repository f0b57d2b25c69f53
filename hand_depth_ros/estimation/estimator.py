"""The one entry point: an RGB picture and its camera in, a metric depth map of every hand in it out.

Knows nothing of ROS or of training. The live node, the bag tool, the image command and the evaluation all call
:meth:`HandDepthEstimator.estimate`, so they give the same depth for the same frames.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hand_depth_ros.errors import CameraError, ImageError
from hand_depth_ros.estimation.detector import HandDetector, overlaps
from hand_depth_ros.estimation.device import inference_dtype, resolve_device
from hand_depth_ros.estimation.result import Hand, HandDepthFrame, Roi
from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.estimation.tracking import Track, Tracker
from hand_depth_ros.geometry.boxes import corners, inside, keep_largest, largest_part, outline, to_frame
from hand_depth_ros.geometry.camera import Camera, CropCamera
from hand_depth_ros.geometry.crop_camera import MARGIN
from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, NetworkConfig, load_weights
from hand_depth_ros.network.hourglass import MEAN_HAND_LENGTH_M
from hand_depth_ros.network.inference import compile_for_inference, fuse_batch_norms, fuse_detector
from hand_depth_ros.network.joints import MIN_PALM_FRACTION
from hand_depth_ros.network.weights import calibration_factors

__all__ = ["EstimatorSettings", "Hand", "HandDepthEstimator", "HandDepthFrame"]

SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
DEPTH_FILE, DETECTOR_FILE = "hand_depth.safetensors", "hand_detector.safetensors"
_LAPLACE_STD = math.sqrt(2.0)
_KNOWN_LENGTH_SIGMA = 0.02
"""Of a length that was given, as a share of it: a ruler's reading, and that hands don't all bend at the same crease, nor have
palms of one length to their fingers (docs/hand_length.md)."""
_MAX_ROIS = 255
_HAND_IN_CROP = 2 / MARGIN
_CANDIDATES = 3
"""The detector gives so many boxes for each hand that may be followed."""
_SAME_BOX = 0.4
"""A box that was given and that of the mask in it, intersection over union: from here on the mask says where the hand is."""


class _Seen(NamedTuple):
    """What the network says of one crop: a row each of what :meth:`HandDepthEstimator._predict` gives."""

    maps: torch.Tensor
    scalars: torch.Tensor

    @property
    def presence(self) -> float:
        """How sure it is that the crop shows a hand, 0..1."""
        return float(self.scalars[4] * self.scalars[5])


@dataclasses.dataclass
class _Look:
    """One crop to look at, a track or a box given from outside, and what is seen in it, if that is known already."""

    track: Track
    crop: CropCamera
    length_m: float | None
    seen: _Seen | None = None


class HandDepthEstimator:
    """Finds, follows and measures hands. Not thread-safe: one estimator a stream of frames."""

    def __init__(
        self,
        network: HandDepthNet,
        detector: HandDetectorNet,
        device: torch.device,
        calibration: dict[str, float],
        **settings: Any,
    ) -> None:
        self.device = device
        self._settings = EstimatorSettings(**settings)
        self.crop_size, self._input_size = network.config.crop_size, network.config.input_size
        folded = fuse_batch_norms(network.eval()).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        dtype = inference_dtype(device)
        self._network = compile_for_inference(folded, device, dtype)
        self._knows_up = network.config.joints
        self._detector = HandDetector(fuse_detector(detector.eval(), device, dtype), device, dtype)
        self._tracker = Tracker(self._settings.max_hands)
        self._camera: Camera | None = None
        self._calibration = {"relief": 1.0, "apparent_size": 1.0, "length": 1.0, **calibration}

    @classmethod
    def from_pretrained(
        cls, weights: str | Path | None = None, device: str = "auto", **settings: Any
    ) -> HandDepthEstimator:
        """The shipped weights, or those in the folder ``weights``; ``settings`` as :class:`EstimatorSettings` has them.

        Raises WeightsError for missing or broken files, DeviceError for a device that isn't there, ValueError for a
        setting out of range.
        """
        EstimatorSettings(**settings)
        target = resolve_device(device)
        folder = Path(weights) if weights else SHIPPED_WEIGHTS
        network, info = load_weights(folder / DEPTH_FILE, HandDepthNet)
        detector, _ = load_weights(folder / DETECTOR_FILE, HandDetectorNet)
        return cls(network, detector, target, calibration_factors(info, folder / DEPTH_FILE), **settings)

    @classmethod
    def untrained(
        cls, seed: int = 0, device: str = "cpu", network: NetworkConfig | None = None, **settings: Any
    ) -> HandDepthEstimator:
        """The real networks with random weights, for tests and benchmarks that need no right answer."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nets = HandDepthNet(network or NetworkConfig()), HandDetectorNet(DetectorConfig())
        return cls(*nets, resolve_device(device), {}, **settings)

    @property
    def settings(self) -> EstimatorSettings:
        """Those in force; `configure` changes them."""
        return self._settings

    def configure(self, **changes: Any) -> None:
        """Change settings from the next frame on, all or nothing: ValueError says what is wrong and nothing changes."""
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(EstimatorSettings)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        settings = dataclasses.replace(self._settings, **changes)
        if settings.max_hands != self._settings.max_hands:
            self._tracker = Tracker(settings.max_hands)
        self._settings = settings

    def reset(self) -> None:
        """Forget the hands that are followed (a new stream, a jump in time)."""
        self._tracker.reset()

    def recalibrate(self) -> int:
        """Forget how long the hands that are followed were found to be, and estimate it again from the next frame on;
        returns how many hands that concerns. Lengths that were given (``hand_length_m``) stay as they are."""
        return self._tracker.forget_lengths()

    def close(self) -> None:
        """Forget everything and free the device's memory; the estimator can't be used afterwards."""
        self.reset()
        del self._network, self._detector
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def warm_up(self, camera: Camera) -> None:
        """Run once on an empty frame of ``camera``, so that the first real one is not slow; tracks stay as they are.

        Raises what `estimate` does."""
        rgb = np.zeros((camera.height, camera.width, 3), np.uint8)
        box = (camera.width * 0.3, camera.height * 0.3, camera.width * 0.4, camera.height * 0.4)
        for _ in range(3):
            self._detector.find(self._upload(rgb) if self.device.type == "cuda" else rgb)
            self.estimate(rgb, camera, rois=[box])

    @torch.inference_mode()
    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Sequence[Roi] | None = None,
        hand_length_m: float | Sequence[float | None] | None = None,
        track: bool = True,
    ) -> HandDepthFrame:
        """Depth of every hand in one frame, on the picture's own pixels (distorted as it is), along the optical axis.

        Args:
            rgb: uint8 (H, W, 3) RGB, H and W the camera's.
            camera: the camera that took it. Another one than before starts the tracking anew.
            rois: tight boxes x, y, width, height of the hands, frame pixels. Skips the detector and the tracking.
            hand_length_m: metres, for all hands or one for each of ``rois`` (None: not known); beats the setting.
            track: False looks at this frame alone: no hand is remembered from before or for later.

        Raises:
            ImageError: the picture is not uint8 (H, W, 3) of the camera's size.
            CameraError: a box that the camera cannot see.
            ValueError: a hand length out of range, not one for each of ``rois``, or more than 255 ``rois``.
        """
        clock = _Clock()
        self._check(rgb, camera)
        image = self._upload(rgb)
        clock.lap("upload")
        seen: dict[int, _Seen] = {}
        if rois is not None:
            if len(rois) > _MAX_ROIS:
                raise ValueError(f"{len(rois)} rois were given: {_MAX_ROIS} at most, the mask has 8 bits")
            tracks = [Track(i + 1, _checked(roi), 1.0) for i, roi in enumerate(rois)]
            lengths = self._lengths(len(tracks), hand_length_m)
            tracker = None
            if self._knows_up and tracks:
                self._first_look(tracks, image, camera, given=True)
        else:
            tracker = self._tracker if track else Tracker(self._settings.max_hands)
            if track and camera != self._camera:
                tracker.reset()  # where a hand was says nothing about where another camera sees it
                self._camera = camera
            seen = self._find(rgb, image, camera, tracker)
            clock.lap("find")
            tracks = list(tracker.tracks)
            lengths = self._lengths(len(tracks), hand_length_m)
        looks = self._look(camera, tracks, lengths, tracker)
        for look in looks:
            look.seen = seen.get(look.track.id)
        frame = self._measure(image, camera, looks, tracker, clock)
        return dataclasses.replace(frame, timings=clock.laps)

    def _check(self, rgb: np.ndarray, camera: Camera) -> None:
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            given = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise ImageError(f"the picture must be a uint8 (H, W, 3) RGB array, not {given}")
        if rgb.shape[:2] != (camera.height, camera.width):
            raise ImageError(
                f"camera_info is {camera.width}x{camera.height} but the image is {rgb.shape[1]}x{rgb.shape[0]}: "
                "use the camera_info that belongs to this image"
            )

    def _upload(self, rgb: np.ndarray) -> torch.Tensor:
        """(3, H, W) uint8 on the device, channels innermost in memory."""
        return torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(self.device).permute(2, 0, 1)

    def _lengths(self, count: int, given: float | Sequence[float | None] | None) -> list[float | None]:
        values = (
            list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * count
        )
        if len(values) != count:
            raise ValueError(f"hand_length_m has {len(values)} values for {count} hands")
        for value in values:
            EstimatorSettings(hand_length_m=value)
        return [self._settings.hand_length_m if value is None else value for value in values]

    def _find(
        self, rgb: np.ndarray, image: torch.Tensor, camera: Camera, tracker: Tracker
    ) -> dict[int, _Seen]:
        """Let the detector look, when it is due, and the network at what it found: a first time, to see where in the box the hand
        is and which way is up, and a second time, upright, to decide. Where that is no hand, the detector's next candidate has
        its turn. Gives what was seen of the new hands, by the track's id."""
        seen: dict[int, _Seen] = {}
        if not tracker.detection_due(self._settings.detection_interval):
            return seen
        picture = image if self.device.type == "cuda" else rgb
        most = _CANDIDATES * self._settings.max_hands
        found = inside(self._detector.find(picture, self._settings.detection_threshold, most), camera)
        new = tracker.look(found)
        while new:
            presences = self._first_look(new, image, camera, given=False)
            kept = [
                track for track, sure in zip(new, presences, strict=True) if not tracker.refuse(track, sure)
            ]
            looks = self._look(camera, [track for track in kept if track.fresh], None, tracker)
            self._see(looks, image, camera)
            for look in looks:
                assert look.seen is not None
                if not tracker.refuse(look.track, look.seen.presence, upright=True):
                    seen[look.track.id] = look.seen
            new = tracker.look_on(found) if any(track not in tracker.tracks for track in new) else []
        return seen

    def _first_look(
        self, tracks: list[Track], image: torch.Tensor, camera: Camera, given: bool
    ) -> list[float]:
        """Look at hands of which only a box is known: where in it they are, which way is up, and (returned) how sure it is that
        they are hands. A box that was ``given`` is kept, and the mask says where in it the hand is only if its own box is much
        the same."""
        crops = [CropCamera.from_box(camera, track.roi, self.crop_size) for track in tracks]
        maps, scalars = self._predict(crops, image, camera)
        masks = (torch.sigmoid(maps[:, 0]) > self._settings.mask_threshold).cpu().numpy()
        rows = scalars.cpu().numpy()
        for track, crop, mask, numbers in zip(tracks, crops, masks, rows, strict=True):
            part = largest_part(mask)
            if part is not None:
                roi = to_frame(crop, camera, part[0])
                if not given or overlaps(np.array(roi), np.array(track.roi))[0, 0] >= _SAME_BOX:
                    track.roi = track.roi if given else roi
                    track.outline = crop.to_frame(camera, part[1])
            if given and track.outline is None:
                track.outline = corners(track.roi)
            if self._knows_up:
                track.roll = _turned(track.roll, numbers)
        return [float(row[4] * row[5]) for row in rows]

    def _predict(
        self, crops: list[CropCamera], image: torch.Tensor, camera: Camera
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network says of the crops, float32.

        Maps (B, 3, S, S): mask logit, relief, log log_b. Scalars (B, 8): the network's five, the last of them turned
        into the probability of a hand; the mean probability of the pixels that are called hand; right and down from the
        wrist to the knuckles, the crop being 2 wide.
        """
        pictures = [crop.resized(self._input_size).sample(camera, image) for crop in crops]
        batch = torch.stack(pictures) / 255
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            maps, scalars, wrist_to_knuckles = self._network(
                batch.contiguous(memory_format=torch.channels_last)
            )
        maps, scalars = maps.float(), scalars.float()
        mask = torch.sigmoid(maps[:, 0])
        hand = mask > self._settings.mask_threshold
        sureness = (mask * hand).sum((1, 2)) / hand.sum((1, 2)).clamp_min(1)
        presence = torch.sigmoid(scalars[:, 4:])
        return maps, torch.cat((scalars[:, :4], presence, sureness[:, None], wrist_to_knuckles.float()), 1)

    def _crop(self, track: Track, camera: Camera) -> CropCamera:
        """Where to look for a hand, turned upright. CameraError where the lens cannot see."""
        points = track.predicted_outline()
        if points is not None and np.isfinite(camera.unproject(points)).all(1).sum() > 2:
            return CropCamera.from_points(camera, points, self.crop_size, roll=track.roll)
        return CropCamera.from_box(camera, track.predicted(), self.crop_size, roll=track.roll)

    def _look(
        self,
        camera: Camera,
        tracks: list[Track],
        lengths: list[float | None] | None,
        tracker: Tracker | None,
    ) -> list[_Look]:
        """The crops to look at. A hand that is followed out of the lens's sight is let go; a given box there is an error."""
        looks = []
        for track, length in zip(tracks, lengths or [None] * len(tracks), strict=True):
            try:
                crop = self._crop(track, camera)
            except CameraError:
                if tracker is None:
                    raise
                tracker.let_go(track)
                continue
            looks.append(_Look(track, crop, length))
        return looks

    def _see(self, looks: list[_Look], image: torch.Tensor, camera: Camera) -> None:
        """Let the network look where it hasn't yet."""
        blind = [look for look in looks if look.seen is None]
        if blind:
            maps, scalars = self._predict([look.crop for look in blind], image, camera)
            for look, *seen in zip(blind, maps, scalars, strict=True):
                look.seen = _Seen(*seen)

    def _measure(
        self,
        image: torch.Tensor,
        camera: Camera,
        looks: list[_Look],
        tracker: Tracker | None,
        clock: _Clock,
    ) -> HandDepthFrame:
        h, w = camera.height, camera.width
        if not looks:
            empty = np.full((h, w), np.nan, np.float32)
            return HandDepthFrame(empty, empty.copy(), np.zeros((h, w), np.uint8), (), {})
        self._see(looks, image, camera)
        clock.lap("network")
        views = [look.seen for look in looks if look.seen is not None]
        scalars = torch.stack([seen.scalars for seen in views])
        canvas = torch.full((3, h, w), torch.nan, device=self.device)
        canvas[2] = 0.0
        best = torch.full((h, w), self._settings.mask_threshold, device=self.device)
        used = [
            self._place(look, *seen, camera, canvas, best) for look, seen in zip(looks, views, strict=True)
        ]
        packed = torch.cat((canvas.flatten(), scalars.flatten(), torch.stack(used).flatten())).cpu().numpy()
        clock.lap("place")
        depth, sigma, owner = packed[: 3 * h * w].reshape(3, h, w)
        numbers = packed[3 * h * w :][: scalars.numel()].reshape(len(looks), -1)
        frame_lengths = packed[3 * h * w + scalars.numel() :].reshape(len(looks), 2)
        frame = self._finish(depth, sigma, owner.astype(np.uint8), looks, numbers, frame_lengths, tracker)
        clock.lap("finish")
        return frame

    def _place(
        self,
        look: _Look,
        maps: torch.Tensor,
        scalars: torch.Tensor,
        camera: Camera,
        canvas: torch.Tensor,
        best: torch.Tensor,
    ) -> torch.Tensor:
        """Write one hand's depth, sigma, id into the frame where it is the likeliest; returns (length, its sigma), metres."""
        scale, apparent_size_log_b, guess, length_log_b = scalars[:4]
        if look.length_m is not None:
            length, relative = (
                torch.full_like(guess, look.length_m),
                torch.full_like(guess, _KNOWN_LENGTH_SIGMA),
            )
        else:
            relative = self._calibration["length"] * _LAPLACE_STD * length_log_b.exp()
            known = look.track.log_length
            length = (
                MEAN_HAND_LENGTH_M * guess.exp() if known is None else torch.full_like(guess, math.exp(known))
            )
        distance = look.crop.f / look.crop.size * torch.exp(-scale)
        depth = length * (distance + maps[1])
        error = torch.sqrt(
            (depth * relative) ** 2
            + (
                length
                * distance
                * self._calibration["apparent_size"]
                * _LAPLACE_STD
                * apparent_size_log_b.exp()
            )
            ** 2
            + (length * self._calibration["relief"] * _LAPLACE_STD * maps[2].exp()) ** 2
        )
        placed = look.crop.reproject(camera, depth, torch.sigmoid(maps[0]), {"sigma": error / depth})
        rows, columns = placed.slice_y, placed.slice_x
        wins = placed.mask > best[rows, columns]
        wins &= torch.isfinite(placed.depth) & (placed.depth > 0)
        best[rows, columns] = torch.where(wins, placed.mask, best[rows, columns])
        found = torch.stack(
            (
                placed.depth,
                placed.extras["sigma"] * placed.depth,
                torch.full_like(placed.depth, look.track.id),
            )
        )
        canvas[:, rows, columns] = torch.where(wins, found, canvas[:, rows, columns])
        return torch.stack((length, length * relative))

    def _finish(
        self,
        depth: np.ndarray,
        sigma: np.ndarray,
        mask: np.ndarray,
        looks: list[_Look],
        numbers: np.ndarray,
        lengths: np.ndarray,
        tracker: Tracker | None,
    ) -> HandDepthFrame:
        """On the host: drop specks and hands that are none, tell the tracker, apply range and sigma limits."""
        shown: dict[int, tuple[Roi, float]] = {}
        for look, row in zip(looks, numbers, strict=True):
            number, presence = look.track.id, float(row[4] * row[5])
            box = keep_largest(mask, number)
            guess = math.log(MEAN_HAND_LENGTH_M) + float(row[2])
            visible = tracker is None or tracker.update(look.track, box, presence, guess)
            if visible and box is not None:
                shown[number] = (box, presence)
                if tracker is not None:
                    look.track.outline = outline(mask == number, box)
                    look.track.roll = _turned(look.track.roll, row)
        for number in tracker.drop_doubles() if tracker is not None else ():
            shown.pop(number, None)
        for look in looks:
            if look.track.id not in shown:
                mask[mask == look.track.id] = 0
        settings = self._settings
        good = (mask > 0) & (depth >= settings.min_range_m) & (depth <= settings.max_range_m)
        if settings.max_sigma_m is not None:
            good &= sigma <= settings.max_sigma_m
        depth, sigma = np.where(good, depth, np.float32(np.nan)), np.where(good, sigma, np.float32(np.nan))
        hands = []
        for look, (length, length_sigma) in zip(looks, lengths.tolist(), strict=True):
            if look.track.id in shown:
                roi, score = shown[look.track.id]
                values = depth[(mask == look.track.id) & good]
                median = float(np.median(values)) if values.size else math.nan
                hands.append(Hand(look.track.id, roi, score, length, length_sigma, median))
        return HandDepthFrame(depth, sigma, mask, tuple(hands), {})


def _turned(roll: float, numbers: np.ndarray) -> float:
    """The roll that puts a hand upright which a crop with ``roll`` shows as ``numbers`` (a row of `_predict`'s scalars) tell;
    unchanged where palm and fingers point at the camera, so that no direction is up."""
    right, down = (float(value) for value in numbers[-2:])
    if not math.hypot(right, down) > MIN_PALM_FRACTION * _HAND_IN_CROP:
        return roll
    return math.remainder(roll + math.atan2(right, -down), 2 * math.pi)


def _checked(roi: Any) -> Roi:
    """Four finite numbers, or CameraError."""
    try:
        x, y, width, height = (float(value) for value in roi)
    except (TypeError, ValueError):
        raise CameraError(
            f"roi {roi!r} is not a box: give a list of boxes, each x, y, width, height"
        ) from None
    return x, y, width, height


class _Clock:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = (now - self._last) * 1e3
        self._last = now
