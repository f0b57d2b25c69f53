"""The node's parameters, in one table.

Their declaration and validation, the options of `hand-depth infer` and `hand-depth bag`
(`cli.options`), `config/hand_depth.yaml` and docs/parameters.md all come from it; `python
tools/write_docs.py` writes the files. Imports neither torch nor rclpy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.ros.messages.settings import DecodeSettings, OutputSettings
from hand_depth_ros.ros.parameter import Parameter, ParameterError, Value

UNTYPED_ENCODINGS = (
    "",
    "mono8",
    "rgb8",
    "bgr8",
    "rgba8",
    "bgra8",
    "bayer_rggb8",
    "bayer_bggr8",
    "bayer_gbrg8",
    "bayer_grbg8",
    "mono16",
    "rgb16",
    "bgr16",
)
"""Encodings as which images may be read that name only the type of their pixels."""

PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "autostart",
        True,
        "True: the node configures and activates itself and exits with the reason if it cannot. False: it waits for "
        "lifecycle transitions (ros2 lifecycle set /hand_depth configure, then activate).",
        read_only=True,
    ),
    Parameter(
        "weights",
        "",
        "Folder with the networks' weights (safetensors). Empty: the weights shipped with the package.",
        read_only=True,
    ),
    Parameter(
        "device",
        "auto",
        "Device that runs the networks: auto, cpu, cuda or cuda:N. auto takes a GPU if there is one, else the CPU; "
        "a device that is named but missing is an error.",
        read_only=True,
    ),
    Parameter(
        "num_threads",
        0,
        "CPU threads for the networks. 0: half of the cores, which leaves the others to the camera and DDS.",
        low=0,
        high=256,
        read_only=True,
    ),
    Parameter(
        "image_transport",
        "raw",
        "Transport of the colour image: raw (sensor_msgs/Image on image) or compressed "
        "(sensor_msgs/CompressedImage, JPEG or PNG, on image/compressed).",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Parameter(
        "camera_info_url",
        "",
        "Calibration of a camera that publishes no camera_info: the YAML of camera_calibration, as "
        "file:///absolute/path.yaml or package://PACKAGE/path.yaml. A camera_info that comes is used instead.",
        read_only=True,
    ),
    Parameter(
        "hfov_deg",
        0.0,
        "Horizontal field of view of a camera that publishes no camera_info and is not calibrated, in degrees; a "
        "lens without distortion is assumed.",
        low=1.0,
        high=179.0,
        off=0.0,
        off_label="not given",
        read_only=True,
    ),
    *(
        Parameter(
            name,
            0.0,
            f"{what} of a camera that publishes no camera_info, in pixels; fx, fy, cx and cy go together.",
            low=low,
            high=1e6,
            off=0.0,
            off_label="not given",
            read_only=True,
        )
        for name, what, low in (
            ("fx", "Horizontal focal length", 1.0),
            ("fy", "Vertical focal length", 1.0),
            ("cx", "Principal point's column", 0.001),
            ("cy", "Principal point's row", 0.001),
        )
    ),
    Parameter(
        "image_is_rectified",
        False,
        "True for image_rect and image_rect_color: use P of camera_info and ignore distortion. "
        "False for image_raw: use K and the distortion coefficients.",
    ),
    Parameter(
        "bit_depth",
        0,
        "Bits of a pixel in 16-bit images (mono16, rgb16, bayer_rggb16, 16-bit PNG). Many sensors use only 10 or 12. "
        "0: infer it from the images; the log and /diagnostics name the result.",
        low=8,
        high=16,
        off=0,
        off_label="automatic",
        read_only=True,
    ),
    Parameter(
        "untyped_encoding",
        "",
        "Encoding as which to read images whose encoding names no colours (8UC1, 8UC3, 8UC4). Empty: refuse them.",
        choices=UNTYPED_ENCODINGS,
        read_only=True,
    ),
    Parameter(
        "max_hands",
        2,
        "Maximum number of hands to measure; the most certain ones win. Each adds to the latency.",
        low=1,
        high=8,
    ),
    Parameter(
        "hand_length_m",
        0.0,
        "Length of the user's hand from wrist crease to middle fingertip, in metres. Improves absolute depth by "
        "centimetres. 0: estimate it from the image.",
        low=0.08,
        high=0.30,
        off=0.0,
    ),
    Parameter("min_range_m", 0.1, "Depth below this is marked invalid, in metres.", low=0.01, high=10.0),
    Parameter("max_range_m", 2.0, "Depth above this is marked invalid, in metres.", low=0.05, high=20.0),
    Parameter(
        "max_sigma_m",
        0.0,
        "Pixels with a larger standard deviation are marked invalid, in metres. 0: keep all.",
        low=0.0001,
        high=1.0,
        off=0.0,
    ),
    Parameter(
        "detection_interval",
        5,
        "Run the hand detector on every n-th image; hands are tracked in between.",
        low=1,
        high=1000,
    ),
    Parameter(
        "detection_threshold",
        0.15,
        "Minimum score of a detection before it is verified. Higher: fewer false hands.",
        low=0.01,
        high=1.0,
    ),
    Parameter(
        "mask_threshold",
        0.5,
        "Minimum probability for a pixel to belong to a hand. Higher: tighter outlines.",
        low=0.5,
        high=0.99,
    ),
    Parameter(
        "background",
        "invalid",
        "Depth where there is no hand: invalid (0 or NaN, like an RGBD camera) or far (far_m, for consumers that "
        "treat holes as obstacles). Sigma, mask and points are not affected.",
        choices=("invalid", "far"),
    ),
    Parameter(
        "far_m",
        4.0,
        "Depth of the background when background is far, in metres; must exceed max_range_m.",
        low=0.1,
        high=65.0,
    ),
    Parameter(
        "points_organized",
        False,
        "True: one point per pixel, NaN where there is no hand. False: hand points only.",
    ),
    Parameter(
        "remove_flying_pixels",
        True,
        "True: the point cloud leaves out pixels that float between two surfaces at an edge inside a hand (about 0.5 % "
        "of its pixels); the depth images keep them. False: every valid pixel is a point.",
    ),
    Parameter(
        "depth_frame_id",
        "",
        "frame_id of the outputs. Empty: that of the colour image. Otherwise this name, with a static identity "
        "transform from the colour optical frame to it (needs tf2_ros).",
        read_only=True,
    ),
)
BY_NAME: dict[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}
DEFAULTS: dict[str, Value] = {parameter.name: parameter.default for parameter in PARAMETERS}

RENAMED: dict[str, str] = {
    "finder_interval": "detection_interval",
    "finder_threshold": "detection_threshold",
}
"""Former names of parameters, and their names now."""

QOS_OVERRIDES = "qos_overrides."
QOS_VALUES: dict[str, tuple[str, ...]] = {
    "history": ("keep_last", "keep_all", "system_default"),
    "depth": (),
    "reliability": ("reliable", "best_effort", "best_available", "system_default"),
    "durability": ("volatile", "transient_local", "best_available", "system_default"),
}

ESTIMATOR_NAMES = tuple(field.name for field in fields(EstimatorSettings) if field.name in BY_NAME)


def check_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Check a whole set of values: type and range of each, and that none contradicts another.

    Args:
        values: A value for every parameter.

    Returns:
        The values, whole numbers given for doubles converted.

    Raises:
        ParameterError: Names the parameter and what is allowed.
    """
    checked = {name: _parameter(name).check(value) for name, value in values.items()}
    if checked["min_range_m"] >= checked["max_range_m"]:
        raise ParameterError(
            f"min_range_m {checked['min_range_m']} must be below max_range_m {checked['max_range_m']}"
        )
    if checked["background"] == "far" and checked["far_m"] <= checked["max_range_m"]:
        raise ParameterError(
            f"far_m {checked['far_m']} must exceed max_range_m {checked['max_range_m']}: "
            "otherwise the background looks like a hand"
        )
    _check_assumed_camera(checked)
    return checked


def _check_assumed_camera(values: Mapping[str, Value]) -> None:
    """Raise ParameterError unless one way at most describes the camera, completely."""
    missing = [name for name in ("fx", "fy", "cx", "cy") if not values[name]]
    if 0 < len(missing) < 4:
        raise ParameterError(f"{', '.join(missing)} missing: fx, fy, cx and cy go together, in pixels")
    given = [name for name in ("camera_info_url", "hfov_deg", "fx") if values[name]]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} both describe the camera: set one of them")


def foreign_names(names: Iterable[str]) -> list[str]:
    """Return the names, among those set by the user, that are not parameters of this node.

    ROS ignores them silently, and a parameter file for several nodes may hold them.

    Raises:
        ParameterError: A name is a former or a misspelt name of a parameter.
    """
    foreign = [name for name in names if name not in BY_NAME and not name.startswith(QOS_OVERRIDES)]
    for name in foreign:
        if name in RENAMED:
            raise ParameterError(f"parameter {name} is now called {RENAMED[name]}: use the new name")
        close = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.75)
        if close:
            raise ParameterError(f"unknown parameter {name!r}: did you mean {close[0]}?")
    return foreign


def check_change(name: str, value: Any, known: bool) -> None:
    """Check one parameter that a user sets while the node runs.

    Args:
        name: Name of any parameter.
        value: Requested value; None to delete the parameter.
        known: Whether the node has declared it.

    Raises:
        ParameterError: Names the parameter, what is allowed, and what to do.
    """
    parameter = BY_NAME.get(name)
    if name.startswith(QOS_OVERRIDES) or (parameter is not None and parameter.read_only):
        raise ParameterError(f"{name} is read-only, fixed at start: restart the node with -p {name}:=...")
    if not known:
        foreign_names([name])
        changeable = ", ".join(p.name for p in PARAMETERS if not p.read_only)
        raise ParameterError(f"unknown parameter {name!r}: this node can change {changeable}")
    if parameter is not None:
        parameter.check(value)


def check_qos_overrides(overrides: Mapping[str, Any]) -> None:
    """Check the `qos_overrides.TOPIC.publisher|subscription.POLICY` among `overrides`.

    Raises:
        ParameterError: Names the parameter and what is allowed.
    """
    for name, value in overrides.items():
        if not name.startswith(QOS_OVERRIDES):
            continue
        head, _, policy = name.rpartition(".")
        if policy not in QOS_VALUES or not head.endswith((".publisher", ".subscription")):
            raise ParameterError(
                f"{name}: it must be {QOS_OVERRIDES}TOPIC.publisher.POLICY or .subscription.POLICY, "
                f"POLICY one of {', '.join(QOS_VALUES)}"
            )
        if policy == "depth":
            Parameter(name, 5, "", low=0, high=1_000_000).check(value)
        else:
            Parameter(name, "", "", choices=QOS_VALUES[policy]).check(value)


def estimator_settings(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return the keyword arguments of `EstimatorSettings`; a feature that is off is None."""
    return {name: None if values[name] == BY_NAME[name].off else values[name] for name in ESTIMATOR_NAMES}


def output_settings(values: Mapping[str, Value]) -> OutputSettings:
    """Return the settings of the output messages."""
    return OutputSettings(**{field.name: values[field.name] for field in fields(OutputSettings)})


def decode_settings(values: Mapping[str, Value]) -> DecodeSettings:
    """Return the settings of the image decoder."""
    return DecodeSettings(**{field.name: values[field.name] for field in fields(DecodeSettings)})


def _parameter(name: str) -> Parameter:
    if name not in BY_NAME:
        foreign_names([name])
        raise ParameterError(f"unknown parameter {name!r}: known are {', '.join(BY_NAME)}")
    return BY_NAME[name]
