"""Tone-map linear light to a camera's 8-bit image: exposure for lit skin, a shoulder, sRGB."""

from __future__ import annotations

import numpy as np

from hand_depth_ros.synthesis.appearance import Light, Look
from hand_depth_ros.synthesis.surface import FOREARM

WHITE_BALANCE = 0.65  # fraction of the light's colour that the camera removes
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def tonemap(linear: np.ndarray, label: np.ndarray, look: Look, light: Light) -> np.ndarray:
    """Convert premultiplied linear light (H, W, 4) to uint8 sRGB (H, W, 4) with straight alpha.

    The gain makes skin as bright as its albedo under full light, times light.exposure; dark skin is
    lifted a little, as an automatic exposure does. Brightness above light.shoulder is compressed.
    """
    alpha = linear[..., 3:].clip(0, 1)
    colour = linear[..., :3] / np.maximum(alpha, 1e-3)
    skin = (label > 0) & (label <= FOREARM) & (alpha[..., 0] > 0.9)
    albedo = max(float(np.dot(look.skin, LUMINANCE)), 0.01)
    if skin.any():
        light_colour = np.median(colour[skin], 0) / np.array(look.skin)
        seen = max(float(light_colour @ LUMINANCE), 1e-4)
        colour = colour * (seen / np.maximum(light_colour, 1e-4)).clip(0.3, 3.0) ** WHITE_BALANCE
    seen = float(np.median(colour[skin] @ LUMINANCE)) / albedo if skin.any() else 0.5
    lift = np.clip((0.3 / albedo) ** 0.3, 0.85, 1.6)
    colour = colour * (light.exposure * lift / max(seen, 1e-4)) * np.array(light.tint)
    knee = light.shoulder
    rest = max(1 - knee, 1e-3)
    colour = np.where(colour > knee, knee + rest * (1 - np.exp(-(colour - knee) / rest)), colour)
    srgb = np.where(
        colour <= 0.0031308, colour * 12.92, 1.055 * np.maximum(colour, 1e-6) ** (1 / 2.4) - 0.055
    )
    return (np.concatenate([srgb, alpha], -1).clip(0, 1) * 255 + 0.5).astype(np.uint8)
