"""Settings of input and output messages. Imports nothing: the parameter table stays light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeSettings:
    """Settings for reading images; each field is the node parameter of the same name.

    Attributes:
        bit_depth: Bit depth of 16-bit images; 0: inferred from the data.
        untyped_encoding: Encoding as which to read 8UC1, 8UC3, ...; "": reject them.
    """

    bit_depth: int = 0
    untyped_encoding: str = ""


@dataclass(frozen=True)
class OutputSettings:
    """Settings for making messages; each field is the node parameter of the same name.

    Attributes:
        background: "invalid", or "far" to put `far_m` into the depth images where there is no hand.
        far_m: Depth of the background in metres.
        points_organized: True: one point per pixel. False: hand points only.
        remove_flying_pixels: True: the point cloud leaves out pixels that float between two
            surfaces. The depth images always keep them.
        image_is_rectified: True: use P of camera_info. False: use K and the distortion
            coefficients.
    """

    background: str = "invalid"
    far_m: float = 4.0
    points_organized: bool = False
    remove_flying_pixels: bool = True
    image_is_rectified: bool = False
