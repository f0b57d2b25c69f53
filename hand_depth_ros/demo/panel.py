"""Draw one frame: colour | depth | sigma | cloud from the side. Arrays in, RGB out; no ROS here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

HEIGHT = 360
TITLE_HEIGHT = 26
AXIS_HEIGHT = 26
DARK, LIGHT, TRUE_GREY = (24, 24, 28), (235, 235, 235), (96, 96, 104)
MIN_SPAN_M = 0.01
"""Least range of the colours and the side view: a flat frame would show nothing but its noise."""
TICK_STEPS_M = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MAX_TICKS = 7
Colours = Callable[[np.ndarray], np.ndarray]
"""Maps levels 0..1, (H, W), to RGB, (H, W, 3) uint8."""


def panel(
    rgb: np.ndarray,
    depth: np.ndarray,
    sigma: np.ndarray,
    points: np.ndarray,
    colours: np.ndarray,
    true_points: np.ndarray,
) -> np.ndarray:
    """Return the four views side by side, (H, W, 3) uint8 RGB.

    The colours cover the values of this frame; a bar beside each title shows the range.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, NaN where invalid.
        sigma: (H, W) metres, NaN where invalid.
        points: The published cloud, (N, 3) metres.
        colours: The cloud's RGB, (N, 3) uint8.
        true_points: (M, 3) metres, drawn in grey behind the cloud.
    """
    depth_limits, sigma_limits = span(depth, 1.0, 99.0), span(sigma, 5.0, 95.0)
    views = (
        (_fit(rgb), _Title("colour")),
        (_fit(_coloured(depth, depth_limits, _turbo)), _Title("depth", depth_limits, _turbo)),
        (_fit(_coloured(sigma, sigma_limits, _viridis)), _Title("sigma", sigma_limits, _viridis)),
        (side_view(points, colours, true_points), _Title("from the side, cm (grey: truth)")),
    )
    return np.hstack([np.vstack([title.draw(image.shape[1]), image]) for image, title in views])


def span(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the `low` and `high` percentiles of the finite values, at least MIN_SPAN_M apart.

    Returns (0, MIN_SPAN_M) if none is finite.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, MIN_SPAN_M
    start, end = (float(v) for v in np.percentile(finite, (low, high)))
    missing = max(0.0, MIN_SPAN_M - (end - start))
    return start - missing / 2, end + missing / 2


def side_view(points: np.ndarray, colours: np.ndarray, true_points: np.ndarray) -> np.ndarray:
    """Draw the cloud seen from the camera's left: distance to the right, y down, equal scales."""
    canvas = np.full((HEIGHT, HEIGHT, 3), DARK, np.uint8)
    everything = np.vstack([true_points.reshape(-1, 3), points.reshape(-1, 3)])
    paint = np.vstack([np.full((len(true_points), 3), TRUE_GREY, np.uint8), colours.reshape(-1, 3)])
    shown = np.isfinite(everything).all(1)
    everything, paint = everything[shown], paint[shown]
    if not len(everything):
        return canvas
    low, high = np.percentile(everything, (0.2, 99.8), axis=0)  # a stray pixel must not shrink the rest
    middle = (low + high) / 2
    room = HEIGHT - AXIS_HEIGHT
    width_m, height_m = max(high[2] - low[2], MIN_SPAN_M), max(high[1] - low[1], MIN_SPAN_M)
    scale = 0.9 * min(HEIGHT / width_m, room / height_m)
    column = np.rint((everything[:, 2] - middle[2]) * scale + HEIGHT / 2).astype(int)
    row = np.rint((everything[:, 1] - middle[1]) * scale + room / 2).astype(int)
    inside = (column >= 0) & (column < HEIGHT) & (row >= 0) & (row < room)
    canvas[row[inside], column[inside]] = paint[inside]
    _draw_axis(canvas, middle[2] - HEIGHT / 2 / scale, HEIGHT / scale)
    return canvas


def _draw_axis(canvas: np.ndarray, start_m: float, length_m: float) -> None:
    """Draw ticks in cm along the lower edge, as many as have room for their labels."""
    top = HEIGHT - AXIS_HEIGHT
    cv2.line(canvas, (0, top), (HEIGHT, top), TRUE_GREY, 1)
    step = next((s for s in TICK_STEPS_M if length_m / s <= MAX_TICKS), TICK_STEPS_M[-1])
    for number in range(int(np.ceil(start_m / step)), int((start_m + length_m) / step) + 1):
        x = round((number * step - start_m) / length_m * HEIGHT)
        text = f"{100 * number * step:.0f}"
        width = _width(text, 0.35)
        if width / 2 < x < HEIGHT - width / 2:
            cv2.line(canvas, (x, top), (x, top + 5), LIGHT, 1)
            _text(canvas, text, (x - width // 2, HEIGHT - 7), 0.35)


def _turbo(level: np.ndarray) -> np.ndarray:
    """Map 0 (near) to red and 1 (far) to blue, without turbo's dark ends."""
    return _mapped(0.92 - 0.84 * level, cv2.COLORMAP_TURBO)


def _viridis(level: np.ndarray) -> np.ndarray:
    return _mapped(0.1 + 0.9 * level, cv2.COLORMAP_VIRIDIS)


def _mapped(level: np.ndarray, colour_map: int) -> np.ndarray:
    """Map (H, W) 0..1 to (H, W, 3) RGB."""
    byte = (np.clip(level, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(byte, colour_map)[..., ::-1])


def _coloured(values: np.ndarray, limits: tuple[float, float], colours: Colours) -> np.ndarray:
    """Map values to colours, clipped to the limits; dark where NaN."""
    valid = np.isfinite(values)
    level = (np.where(valid, values, limits[0]) - limits[0]) / (limits[1] - limits[0])
    image = colours(np.clip(level, 0.0, 1.0))
    image[~valid] = DARK
    return image


def _fit(image: np.ndarray) -> np.ndarray:
    width = round(image.shape[1] * HEIGHT / image.shape[0])
    return cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Title:
    """A view's name and, where the view has a colour scale, a bar with both limits."""

    text: str
    limits: tuple[float, float] | None = None
    colours: Colours | None = None

    def draw(self, width: int) -> np.ndarray:
        bar = np.full((TITLE_HEIGHT, width, 3), DARK, np.uint8)
        _text(bar, self.text, (6, 18), 0.5)
        if self.limits is None or self.colours is None:
            return bar
        low, high = (f"{1e3 * limit:.0f}" for limit in self.limits)
        left = 6 + _width(self.text, 0.5) + 14
        _text(bar, low, (left, 18), 0.45)
        left += _width(low, 0.45) + 6
        right = width - 10 - _width(f"{high} mm", 0.45)
        _text(bar, f"{high} mm", (right, 18), 0.45)
        scale = self.colours(np.linspace(0.0, 1.0, max(1, right - 6 - left))[None, :])
        bar[8:20, left : left + scale.shape[1]] = scale[:, : max(0, width - left)]
        return bar


def _width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def _text(image: np.ndarray, text: str, corner: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, LIGHT, 1, cv2.LINE_AA)
