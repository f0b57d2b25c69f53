"""One picture a frame: colour | depth | sigma | cloud from the side. Arrays in, RGB out; knows nothing of ROS."""

from __future__ import annotations

import cv2
import numpy as np

HEIGHT = 360
DARK, LIGHT, TRUE_GREY = (24, 24, 28), (235, 235, 235), (96, 96, 104)
SIDE_SPAN_M = 0.32
RELIEF_M = 0.16
SIGMA_TOP_M = 0.03


def panel(
    rgb: np.ndarray,
    depth: np.ndarray,
    sigma: np.ndarray,
    points: np.ndarray,
    colours: np.ndarray,
    true_points: np.ndarray,
) -> np.ndarray:
    """The four views side by side.

    Args:
        rgb: (H, W, 3) uint8.
        depth, sigma: (H, W) metres, NaN where invalid.
        points, colours: the published cloud, (N, 3) metres and (N, 3) uint8.
        true_points: (M, 3) metres, drawn in grey behind the cloud.
    """
    valid = np.isfinite(depth)
    middle = float(np.median(depth[valid])) if valid.any() else 0.5
    views = (
        ("colour", _fit(rgb)),
        (
            f"depth {1e3 * (middle - RELIEF_M / 2):.0f} to {1e3 * (middle + RELIEF_M / 2):.0f} mm",
            _fit(_coloured(0.5 - (depth - middle) / RELIEF_M, cv2.COLORMAP_TURBO)),
        ),
        (
            f"sigma 0 to {1e3 * SIGMA_TOP_M:.0f} mm",
            _fit(_coloured(sigma / SIGMA_TOP_M, cv2.COLORMAP_VIRIDIS)),
        ),
        ("from the side (grey: truth)", side_view(points, colours, true_points)),
    )
    return np.hstack([_titled(image, title) for title, image in views])


def side_view(points: np.ndarray, colours: np.ndarray, true_points: np.ndarray) -> np.ndarray:
    """The cloud seen from the camera's left: distance to the right, y down, equal scales, a tick every 5 cm."""
    canvas = np.full((HEIGHT, HEIGHT, 3), DARK, np.uint8)
    reference = true_points if len(true_points) else points
    if not len(reference):
        return canvas
    centre = np.median(reference, axis=0)
    scale = HEIGHT / SIDE_SPAN_M
    first_tick = np.ceil((centre[2] - SIDE_SPAN_M / 2) / 0.05) * 0.05
    for distance in np.arange(first_tick, centre[2] + SIDE_SPAN_M / 2, 0.05):
        x = round((distance - centre[2]) * scale + HEIGHT / 2)
        cv2.line(canvas, (x, HEIGHT - 6), (x, HEIGHT), LIGHT, 1)
        _text(canvas, f"{100 * distance:.0f}", (x - 8, HEIGHT - 10), 0.35)
    _text(canvas, "cm", (4, HEIGHT - 10), 0.35)
    everything = np.vstack([true_points.reshape(-1, 3), points.reshape(-1, 3)])
    paint = np.vstack([np.full((len(true_points), 3), TRUE_GREY, np.uint8), colours.reshape(-1, 3)])
    column = np.rint((everything[:, 2] - centre[2]) * scale + HEIGHT / 2)
    row = np.rint((everything[:, 1] - centre[1]) * scale + HEIGHT / 2)
    inside = (column >= 0) & (column < HEIGHT) & (row >= 0) & (row < HEIGHT)
    canvas[row[inside].astype(int), column[inside].astype(int)] = paint[inside]
    return canvas


def _coloured(level: np.ndarray, colour_map: int) -> np.ndarray:
    """0..1 to colours; dark where NaN."""
    valid = np.isfinite(level)
    byte = (np.clip(np.where(valid, level, 0.0), 0.0, 1.0) * 255.0).astype(np.uint8)
    picture = np.ascontiguousarray(cv2.applyColorMap(byte, colour_map)[..., ::-1])
    picture[~valid] = DARK
    return picture


def _fit(image: np.ndarray) -> np.ndarray:
    width = round(image.shape[1] * HEIGHT / image.shape[0])
    return cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)


def _titled(image: np.ndarray, title: str) -> np.ndarray:
    bar = np.full((26, image.shape[1], 3), DARK, np.uint8)
    _text(bar, title, (6, 18), 0.5)
    return np.vstack([bar, image])


def _text(image: np.ndarray, text: str, corner: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, LIGHT, 1, cv2.LINE_AA)
