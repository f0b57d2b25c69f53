"""Structure of JPEG data: size, end and signs of damage, without decoding (ITU T.81, annex B)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hand_depth_ros.errors import ImageError

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Second bytes of markers without a length: stuffing, TEM, RSTn, SOI, EOI."""
_BETWEEN_SCANS = frozenset({0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers that may follow a scan, apart from EOI: DHT, SOS, DQT, DNL, DRI, COM, APPn."""
_IS_DATA = np.zeros(256, bool)
_IS_DATA[[0x00, 0xFF, *range(0xD0, 0xD8)]] = True
"""Second bytes after 0xFF that belong to the data of a scan: stuffing, fill bytes, RSTn."""
_MAX_SCAN_HEADER = 14
"""Longest header of a scan, in bytes: four components."""
_STANDARD_TABLE = bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0))
"""Code lengths of the standard table of luminance DC (ITU T.81, table K.3)."""
_ZERO_RUN = bytes(64)
"""So many zeros do not occur in data coded with the standard tables."""


class Scan(NamedTuple):
    """Result of `scan`: the index behind the end mark (None: there is none) and signs of damage."""

    end: int | None
    damage: str


def frame_size(raw: memoryview) -> tuple[int, int]:
    """Return (width, height) from the frame header; reject what decoders may read differently.

    Raises:
        ImageError: There is no proper frame header.
    """
    position = 2
    while position + 9 <= len(raw) and raw[position] == 0xFF:
        marker, length = raw[position + 1], int.from_bytes(raw[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH or length < 2:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return (
                int.from_bytes(raw[position + 7 : position + 9], "big"),
                int.from_bytes(raw[position + 5 : position + 7], "big"),
            )
        position += 2 + length
    raise ImageError("the jpeg data has no frame header: check the camera driver and the link")


def scan(data: np.ndarray) -> Scan:
    """Find the end of JPEG data and signs that a part of it was lost.

    Args:
        data: uint8 (N,) that `frame_size` accepts; whatever follows the end mark is ignored.

    Returns:
        The first end mark outside of segments, and damage: a marker where none may be, a long run
        of zeros, restart markers out of order.
    """
    start = _first_scan(data)
    if start is None:
        return Scan(None, "")
    marks = np.flatnonzero((data[start:-1] == 0xFF) & ~_IS_DATA[data[start + 1 :]]) + start
    position, damage, end = start, "", None
    for mark in marks.tolist():
        if mark < position:
            continue
        marker = int(data[mark + 1])
        if marker == _EOI:
            end = mark + 2
            break
        if marker == _SOI and bytes(data[mark + 2 : mark + 3]) == b"\xff":
            return Scan(None, "")  # another image begins before this one ends
        behind = _segment_end(data, mark)
        if behind is None:
            damage = damage or f"marker 0xFF{marker:02X} within the image"
        else:
            position = behind
    coded = bytes(data[start:end])
    if not damage and _STANDARD_TABLE in bytes(data[:start]) and _ZERO_RUN in coded:
        damage = "zeros within the image"
    if not damage and not _restarts_in_order(data[start:end]):
        damage = "restart markers are missing"
    return Scan(end, damage)


def _first_scan(data: np.ndarray) -> int | None:
    """Return the index of the first scan's data, None if there is no scan."""
    position = 2
    while position + 4 <= data.size and data[position] == 0xFF:
        marker = int(data[position + 1])
        if marker == 0xFF:
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            return None
        position += 2 + int.from_bytes(bytes(data[position + 2 : position + 4]), "big")
        if marker == _SOS:
            return position if position < data.size else None
    return None


def _segment_end(data: np.ndarray, mark: int) -> int | None:
    """Return the end of a segment between two scans, None if `mark` begins none.

    Noise has markers, too: but another marker follows a segment, and scan headers are short.
    """
    marker, length = int(data[mark + 1]), int.from_bytes(bytes(data[mark + 2 : mark + 4]), "big")
    end = mark + 2 + length
    if marker not in _BETWEEN_SCANS or length < 2 or end + 1 >= data.size:
        return None
    if marker == _SOS:
        return end if length <= _MAX_SCAN_HEADER else None
    return end if data[end] == 0xFF and data[end + 1] in (*_BETWEEN_SCANS, _EOI, 0xFF) else None


def _restarts_in_order(coded: np.ndarray) -> bool:
    """Return whether the restart markers of the first scan count 0 to 7, over and over."""
    second = coded[1:][coded[:-1] == 0xFF]
    ends = np.flatnonzero(~_IS_DATA[second])
    first = second[: int(ends[0])] if ends.size else second
    restarts = first[(first >= 0xD0) & (first <= 0xD7)].astype(np.int64) - 0xD0
    return bool((restarts == np.arange(restarts.size) % 8).all())
