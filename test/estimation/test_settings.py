"""The estimator's settings: what is out of range is refused by name."""

from __future__ import annotations

import dataclasses
import math

import pytest

from hand_depth_ros.estimation.settings import EstimatorSettings


def test_the_defaults_are_allowed() -> None:
    assert EstimatorSettings().max_hands == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_hands", 0),
        ("max_hands", 9),
        ("max_hands", 1.5),
        ("max_hands", True),
        ("max_hands", None),
        ("hand_length_m", 0.0),
        ("hand_length_m", 19.0),
        ("hand_length_m", math.nan),
        ("hand_length_m", "0.19"),
        ("min_range_m", -0.1),
        ("min_range_m", 2.0),
        ("max_range_m", math.inf),
        ("max_range_m", 0.05),
        ("max_sigma_m", 0.0),
        ("max_sigma_m", -1.0),
        ("detection_interval", 0),
        ("detection_interval", 2.5),
        ("detection_threshold", 1.1),
        ("mask_threshold", 0.4),
        ("mask_threshold", 1.0),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        EstimatorSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"max_hands": 8, "detection_interval": 1000},
        {"hand_length_m": 0.08},
        {"hand_length_m": 0.30, "max_sigma_m": 0.005},
        {"hand_length_m": None, "max_sigma_m": None},
        {"min_range_m": 0, "max_range_m": 100},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(values: dict[str, float]) -> None:
    settings = EstimatorSettings(**values)  # type: ignore[arg-type]
    assert {name: getattr(settings, name) for name in values} == values


def test_a_whole_number_given_as_a_float_counts_as_one() -> None:
    assert type(EstimatorSettings(max_hands=3.0).max_hands) is int  # type: ignore[arg-type]


def test_settings_do_not_change_under_a_reader() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EstimatorSettings().max_hands = 3  # type: ignore[misc]
