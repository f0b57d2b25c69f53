"""The one entry point: an RGB image and its camera in, a metric depth map of every hand in it out.

The live node, the bag tool, the image command and the evaluation all call
:meth:`HandDepthEstimator.estimate`, so they give the same depth for the same frames. This module
says in which order things happen; the steps are in

    detector     boxes of hands in the whole frame
    tracking     which box belongs to which hand, from frame to frame
    predictor    crops of the frame through the depth network
    compositor   predictions to metres, on the frame's own pixels
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hand_depth_ros.errors import CameraError
from hand_depth_ros.estimation.compositor import (
    Calibration,
    Compositor,
    FrameMaps,
    HandLength,
    resolve_hand_length,
    to_metric,
)
from hand_depth_ros.estimation.detector import HandDetector
from hand_depth_ros.estimation.device import inference_dtype, resolve_device
from hand_depth_ros.estimation.frame import Frame
from hand_depth_ros.estimation.predictor import (
    CropPrediction,
    CropScalars,
    HandPredictor,
    scalars_to_host,
)
from hand_depth_ros.estimation.result import Hand, HandDepthFrame
from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.estimation.tracking import Track, Tracker
from hand_depth_ros.geometry.boxes import Box
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import CropCamera
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M
from hand_depth_ros.geometry.masks import convex_hull, hand_parts, remove_small_parts
from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, NetworkConfig, load_weights
from hand_depth_ros.network.inference import compile_for_inference, fuse_batch_norms, fuse_detector
from hand_depth_ros.network.weights import calibration_factors

__all__ = ["EstimatorSettings", "Hand", "HandDepthEstimator", "HandDepthFrame"]

SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
DEPTH_FILE, DETECTOR_FILE = "hand_depth.safetensors", "hand_detector.safetensors"
_MAX_BOXES = 255
"""The instance mask has 8 bits."""
_CANDIDATES_PER_HAND = 3
"""Boxes that the detector returns for each hand that may be followed."""
_MIN_GIVEN_BOX_IOU = 0.4
"""Above this overlap of a given box with its mask's box, the mask's hull says where in the box
the hand is."""


_WIDENING = 1.8
"""Growth of a located hand's box in the search for parts that are cut off."""
_MAX_WIDENINGS = 2
_MIN_WIDE_PRESENCE = 0.3
_MIN_WIDENED_RATIO = 1.25
"""A wider mask counts if its longer side exceeds the narrow one's by this factor."""


@dataclasses.dataclass
class CropRequest:
    """One hand to predict in a frame: its track, its crop camera and, once made, the prediction."""

    track: Track
    crop: CropCamera
    hand_length_m: float | None
    prediction: CropPrediction | None = None


@dataclasses.dataclass(frozen=True)
class _Measurement:
    """A prediction's numbers on the host."""

    track: Track
    scalars: CropScalars[np.float32]
    length_m: float
    length_sigma_m: float


class HandDepthEstimator:
    """Detect, track and measure hands.

    Not thread-safe: use one estimator for each stream of frames.
    """

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
        self.crop_size = network.config.crop_size
        fused = fuse_batch_norms(network.eval()).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        dtype = inference_dtype(device)
        self._predictor = HandPredictor(
            compile_for_inference(fused, device, dtype), device, network.config.input_size
        )
        self._has_joints = network.config.joints
        self._detector = HandDetector(fuse_detector(detector.eval(), device, dtype), device, dtype)
        self._tracker = Tracker(self._settings.max_hands)
        self._camera: Camera | None = None
        self._calibration = Calibration(**calibration)

    @classmethod
    def from_pretrained(
        cls, weights: str | Path | None = None, device: str = "auto", **settings: Any
    ) -> HandDepthEstimator:
        """Load the shipped weights, or those in the folder ``weights``.

        Args:
            weights: Folder with hand_depth.safetensors and hand_detector.safetensors; None: the
                shipped ones.
            device: "auto", "cpu", "cuda" or "cuda:N".
            **settings: Fields of :class:`EstimatorSettings`.

        Raises:
            WeightsError: A file is missing or broken.
            DeviceError: The device isn't there.
            ValueError: A setting is out of range.
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
        """Build the real networks with random weights, for tests and benchmarks."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nets = HandDepthNet(network or NetworkConfig()), HandDetectorNet(DetectorConfig())
        return cls(*nets, resolve_device(device), {}, **settings)

    @property
    def settings(self) -> EstimatorSettings:
        """Return the settings in force; change them with `configure`."""
        return self._settings

    def configure(self, **changes: Any) -> None:
        """Change settings from the next frame on, all or nothing.

        Raises:
            ValueError: A setting is unknown or out of range; nothing has changed then.
        """
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(EstimatorSettings)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        settings = dataclasses.replace(self._settings, **changes)
        if settings.max_hands != self._settings.max_hands:
            self._tracker = Tracker(settings.max_hands)
        self._settings = settings

    def reset(self) -> None:
        """Drop all tracks (new stream, jump in time)."""
        self._tracker.reset()

    def recalibrate(self) -> int:
        """Discard the estimated lengths of tracked hands; return the number of hands concerned.

        They are estimated again from the next frame on. Lengths that were given (``hand_length_m``)
        stay.
        """
        return self._tracker.forget_lengths()

    def close(self) -> None:
        """Drop all tracks and free the device's memory; the estimator can't be used afterwards."""
        self.reset()
        del self._predictor, self._detector
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def warm_up(self, camera: Camera) -> None:
        """Run on an empty frame of ``camera`` so that the first real one is not slow.

        Tracks stay as they are.

        Raises:
            CameraError: As in `estimate`.
        """
        rgb = np.zeros((camera.height, camera.width, 3), np.uint8)
        box = (camera.width * 0.3, camera.height * 0.3, camera.width * 0.4, camera.height * 0.4)
        for _ in range(3):
            self._detector.detect_in_frame(Frame.upload(rgb, camera, self.device))
            self.estimate(rgb, camera, rois=[box])

    @torch.inference_mode()
    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Sequence[Sequence[float]] | None = None,
        hand_length_m: float | Sequence[float | None] | None = None,
        track: bool = True,
    ) -> HandDepthFrame:
        """Estimate the depth of every hand in one frame, on the image's own (distorted) pixels.

        Args:
            rgb: uint8 (H, W, 3) RGB, H and W the camera's.
            camera: The camera that took it. A camera other than before resets the tracks.
            rois: Tight boxes (x, y, width, height) of the hands, frame pixels. Skips detection and
                tracking.
            hand_length_m: Metres, for all hands or one for each of ``rois`` (None: unknown);
                overrides the setting.
            track: False looks at this frame alone: no hand is remembered from before or for later.

        Returns:
            Depth along the optical axis and sigma in metres, the instance mask and one entry a
            hand.

        Raises:
            ImageError: The image is not uint8 (H, W, 3) of the camera's size.
            CameraError: The lens cannot see a box.
            ValueError: A hand length is out of range, not one for each of ``rois``, or there are
                more than 255.
        """
        timer = _StepTimer()
        frame = Frame.upload(rgb, camera, self.device)
        timer.lap("upload")
        if rois is not None:
            tracker = None
            tracks = self._tracks_of_boxes(frame, rois)
            predictions: dict[int, CropPrediction] = {}
        else:
            tracker = self._tracker_for(camera) if track else Tracker(self._settings.max_hands)
            predictions = self._detect(frame, tracker)
            tracks = list(tracker.tracks)
            timer.lap("detect")
        lengths = self._hand_lengths(len(tracks), hand_length_m)
        requests = self._request_crops(frame, tracks, lengths, tracker)
        for request in requests:
            request.prediction = predictions.get(request.track.id)
        self._predict_missing(frame, requests)
        timer.lap("network")
        maps, measurements = self._composite(frame, requests)
        timer.lap("composite")
        visible = self._update_tracks(maps, measurements, tracker)
        result = self._result(camera, maps, measurements, visible)
        timer.lap("finish")
        return dataclasses.replace(result, timings=timer.laps)

    def _tracker_for(self, camera: Camera) -> Tracker:
        """Return the tracker, reset if another camera took the last frame."""
        if camera != self._camera:
            self._tracker.reset()
            self._camera = camera
        return self._tracker

    def _hand_lengths(self, count: int, given: float | Sequence[float | None] | None) -> list[float | None]:
        """Return one length for each hand: the given one, else the setting, else None."""
        values = (
            list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * count
        )
        if len(values) != count:
            raise ValueError(f"hand_length_m has {len(values)} values for {count} hands")
        for value in values:
            EstimatorSettings(hand_length_m=value)
        return [self._settings.hand_length_m if value is None else value for value in values]

    def _tracks_of_boxes(self, frame: Frame, rois: Sequence[Sequence[float]]) -> list[Track]:
        """Make a track of each given box; find out where in it the hand is and which way is up."""
        if len(rois) > _MAX_BOXES:
            raise ValueError(f"{len(rois)} rois were given: {_MAX_BOXES} at most, the mask has 8 bits")
        tracks = [Track(i + 1, _validated_box(roi), 1.0) for i, roi in enumerate(rois)]
        if self._has_joints and tracks:
            for track, crop, prediction in self._locate(frame, tracks):
                parts = self._parts_in_frame(frame, crop, prediction)
                if parts is not None and parts[0].iou(track.box) >= _MIN_GIVEN_BOX_IOU:
                    track.hull = parts[1]
                else:
                    track.hull = track.box.corners()
        return tracks

    def _detect(self, frame: Frame, tracker: Tracker) -> dict[int, CropPrediction]:
        """Run the detector if due and verify new detections in two passes: locate, then upright.

        Where the network sees no hand, the detector's next candidate gets its turn.

        Returns:
            Accepted predictions by track id.
        """
        accepted: dict[int, CropPrediction] = {}
        if not tracker.detection_due(self._settings.detection_interval):
            return accepted
        detections = self._detector.detect_in_frame(
            frame, self._settings.detection_threshold, _CANDIDATES_PER_HAND * self._settings.max_hands
        )
        new = tracker.associate(detections)
        while new:
            kept = self._locate_detections(frame, new, tracker)
            requests = self._request_crops(frame, [track for track in kept if track.tentative], None, tracker)
            self._predict_missing(frame, requests)
            for request in requests:
                assert request.prediction is not None
                presence = request.prediction.scalars.presence
                if not tracker.reject(request.track, presence, upright=True):
                    accepted[request.track.id] = request.prediction
            rejected = any(track not in tracker.tracks for track in new)
            new = tracker.spawn_more(detections) if rejected else []
        return accepted

    def _locate_detections(self, frame: Frame, tracks: list[Track], tracker: Tracker) -> list[Track]:
        """Shrink each detection's box to the hand's mask and drop tracks that hardly show a hand.

        Returns:
            The tracks that are left.
        """
        kept = []
        for track, crop, prediction in self._locate(frame, tracks):
            parts = self._parts_in_frame(frame, crop, prediction)
            if parts is not None:
                track.box, track.hull = parts
            if not tracker.reject(track, prediction.scalars.presence):
                kept.append(track)
        self._widen(frame, kept)
        return kept

    def _widen(self, frame: Frame, tracks: list[Track]) -> None:
        """Look around each located hand for parts that a thing in front cuts off.

        A hand behind a bar is detected as its palm. A crop of the grown box shows the fingers
        beyond; if its mask reaches much farther, the hand is that large, and is looked at in a
        wider crop once more.
        """
        for _ in range(_MAX_WIDENINGS):
            wide = [dataclasses.replace(t, box=_grown(t.box, _WIDENING)) for t in tracks]
            widened = []
            for track, (seen, crop, prediction) in zip(
                tracks, self._locate(frame, wide) if wide else (), strict=True
            ):
                parts = self._parts_in_frame(frame, crop, prediction)
                if parts is None or prediction.scalars.presence < _MIN_WIDE_PRESENCE:
                    continue
                if parts[0].longer_side > _MIN_WIDENED_RATIO * track.box.longer_side:
                    (track.box, track.hull), track.roll = parts, seen.roll
                    widened.append(track)
            tracks = widened

    def _locate(self, frame: Frame, tracks: list[Track]) -> list[tuple[Track, CropCamera, CropPrediction]]:
        """Predict hands of which only a box is known, in crops that aren't upright.

        Set their roll.
        """
        crops = [CropCamera.from_box(frame.camera, track.box, self.crop_size) for track in tracks]
        predictions = self._predictor.predict(frame, crops, self._settings.mask_threshold)
        if self._has_joints:
            for track, scalars in zip(tracks, scalars_to_host(predictions), strict=True):
                track.roll = scalars.upright_roll(track.roll)
        return list(zip(tracks, crops, predictions, strict=True))

    def _parts_in_frame(
        self, frame: Frame, crop: CropCamera, prediction: CropPrediction
    ) -> tuple[Box, np.ndarray] | None:
        """Return box and hull (n, 2) of the mask's parts in frame pixels, None for a speck."""
        mask = torch.sigmoid(prediction.mask_logits) > self._settings.mask_threshold
        parts = hand_parts(mask.cpu().numpy())
        if parts is None:
            return None
        return crop.box_to_frame(frame.camera, parts[0]), crop.to_frame(frame.camera, parts[1])

    def _request_crops(
        self,
        frame: Frame,
        tracks: list[Track],
        lengths: list[float | None] | None,
        tracker: Tracker | None,
    ) -> list[CropRequest]:
        """Choose the crop of each track and drop tracks that left the lens's view.

        Raises:
            CameraError: A given box (``tracker`` is None) lies outside the lens's view.
        """
        requests = []
        for track, length in zip(tracks, lengths or [None] * len(tracks), strict=True):
            try:
                crop = _upright_crop(track, frame.camera, self.crop_size)
            except CameraError:
                if tracker is None:
                    raise
                tracker.drop(track)
                continue
            requests.append(CropRequest(track, crop, length))
        return requests

    def _predict_missing(self, frame: Frame, requests: list[CropRequest]) -> None:
        """Run the network on the requests that have no prediction yet, in one batch."""
        missing = [request for request in requests if request.prediction is None]
        if missing:
            crops = [request.crop for request in missing]
            predictions = self._predictor.predict(frame, crops, self._settings.mask_threshold)
            for request, prediction in zip(missing, predictions, strict=True):
                request.prediction = prediction

    def _composite(self, frame: Frame, requests: list[CropRequest]) -> tuple[FrameMaps, list[_Measurement]]:
        """Convert the predictions to metres and put them onto the frame's pixels."""
        compositor = Compositor(frame.camera, self._settings.mask_threshold, self.device)
        predictions, lengths = [], []
        for request in requests:
            assert request.prediction is not None
            length = resolve_hand_length(
                request.prediction, request.hand_length_m, request.track.log_length, self._calibration
            )
            metric = to_metric(request.prediction, request.crop, length, self._calibration)
            compositor.add(request.track.id, request.crop, metric, request.prediction.mask_logits)
            predictions.append(request.prediction)
            lengths.append(length)
        return compositor.composite(), _measurements(requests, predictions, lengths)

    def _update_tracks(
        self, maps: FrameMaps, measurements: list[_Measurement], tracker: Tracker | None
    ) -> dict[int, Box]:
        """Update the tracks and remove specks and rejected hands from the mask, in place.

        Returns:
            The boxes of the hands that this frame shows, by id.
        """
        visible: dict[int, Box] = {}
        instances, offset = maps.instances, maps.offset
        for measurement in measurements:
            track, scalars = measurement.track, measurement.scalars
            part = remove_small_parts(instances, track.id)
            box = None if part is None else part.moved(*offset)
            log_length = math.log(MEAN_HAND_LENGTH_M) + float(scalars.log_length)
            shown = tracker is None or tracker.update(track, box, scalars.presence, log_length)
            if shown and part is not None and box is not None:
                visible[track.id] = box
                if tracker is not None:
                    track.hull = convex_hull(instances == track.id, part) + offset
                    track.roll = scalars.upright_roll(track.roll)
        for track_id in tracker.drop_duplicates() if tracker is not None else ():
            visible.pop(track_id, None)
        for measurement in measurements:
            if measurement.track.id not in visible:
                instances[instances == measurement.track.id] = 0
        return visible

    def _result(
        self,
        camera: Camera,
        maps: FrameMaps,
        measurements: list[_Measurement],
        visible: dict[int, Box],
    ) -> HandDepthFrame:
        """Apply the limits on range and sigma, list the visible hands and fill the frame's maps."""
        settings, nan = self._settings, np.float32(np.nan)
        depth, instances = maps.depth_m, maps.instances
        valid = (instances > 0) & (depth >= settings.min_range_m) & (depth <= settings.max_range_m)
        if settings.max_sigma_m is not None:
            valid &= maps.sigma_m <= settings.max_sigma_m
        hands = []
        for each in measurements:
            if each.track.id in visible:
                values = depth[(instances == each.track.id) & valid]
                median = float(np.median(values)) if values.size else math.nan
                box, score = visible[each.track.id], each.scalars.presence
                hands.append(Hand(each.track.id, box, score, each.length_m, each.length_sigma_m, median))
        shape = (camera.height, camera.width)
        result = HandDepthFrame(
            np.full(shape, nan), np.full(shape, nan), np.zeros(shape, np.uint8), tuple(hands), {}
        )
        result.depth[maps.window] = np.where(valid, depth, nan)
        result.sigma[maps.window] = np.where(valid, maps.sigma_m, nan)
        result.mask[maps.window] = instances
        return result


def _measurements(
    requests: list[CropRequest], predictions: list[CropPrediction], lengths: list[HandLength]
) -> list[_Measurement]:
    """Download the numbers of all hands of a frame."""
    if not requests:
        return []
    metres = torch.stack([torch.stack((x.length_m, x.length_m * x.relative_sigma)) for x in lengths]).tolist()
    return [
        _Measurement(request.track, scalars, length_m, sigma_m)
        for request, scalars, (length_m, sigma_m) in zip(
            requests, scalars_to_host(predictions), metres, strict=True
        )
    ]


def _upright_crop(track: Track, camera: Camera, size: int) -> CropCamera:
    """Return the upright crop camera for a track's predicted position.

    Raises:
        CameraError: The lens has no rays there.
    """
    hull = track.predicted_hull()
    if hull is not None and np.isfinite(camera.unproject(hull)).all(1).sum() > 2:
        return CropCamera.from_points(camera, hull, size, roll=track.roll)
    return CropCamera.from_box(camera, track.predicted_box(), size, roll=track.roll)


def _grown(box: Box, factor: float) -> Box:
    """Return a box grown about its centre."""
    (x, y), width, height = box.centre, factor * box.width, factor * box.height
    return Box(x - width / 2, y - height / 2, width, height)


def _validated_box(roi: Any) -> Box:
    """Return a given roi as a box; CameraError if it isn't four numbers."""
    try:
        x, y, width, height = (float(value) for value in roi)
    except (TypeError, ValueError):
        raise CameraError(
            f"roi {roi!r} is not a box: give a list of boxes, each x, y, width, height"
        ) from None
    return Box(x, y, width, height)


class _StepTimer:
    """Measure the milliseconds of consecutive steps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Record the time since the last lap under ``name``."""
        now = time.perf_counter()
        self.laps[name] = (now - self._last) * 1e3
        self._last = now
