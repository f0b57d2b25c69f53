"""The parameter table: what it accepts, what it refuses and why, and the files that are written from it."""

from __future__ import annotations

import pytest
import yaml
from paths import ROOT

from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.ros import parameters
from hand_depth_ros.ros.parameters import BY_NAME, DEFAULTS, PARAMETERS, ParameterError, check_values


def test_the_defaults_are_allowed() -> None:
    assert check_values(DEFAULTS) == DEFAULTS


def test_the_config_file_is_the_tables_and_holds_every_parameter() -> None:
    text = (ROOT / "config" / "hand_depth.yaml").read_text()
    assert text == parameters.config_yaml(), (
        "run: python -m hand_depth_ros.ros.parameters yaml > config/hand_depth.yaml"
    )
    assert yaml.safe_load(text)["/**"]["ros__parameters"] == DEFAULTS


def test_the_readme_has_the_table() -> None:
    readme = (ROOT / "README.md").read_text()
    if "image_is_rectified" not in readme:
        pytest.skip("the README has no parameter table yet")
    assert parameters.markdown_table() in readme, "run: python -m hand_depth_ros.ros.parameters markdown"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max_hands", 0, "1 to 8"),
        ("max_hands", 2.0, "int is needed"),
        ("max_hands", True, "int is needed"),
        ("hand_length_m", 0.5, "0.08 to 0.3, or 0 = off"),
        ("hand_length_m", float("nan"), "0.08 to 0.3"),
        ("min_range_m", -1.0, "0.01 to 10"),
        ("max_sigma_m", float("inf"), "or 0 = off"),
        ("background", "near", "invalid, far"),
        ("image_is_rectified", 1, "bool is needed"),
        ("weights", 5, "string is needed"),
        ("far_m", None, "double is needed"),
    ],
)
def test_what_will_not_do_is_refused_with_what_would(name: str, value: object, reason: str) -> None:
    with pytest.raises(ParameterError, match=f"{name}.*{reason}"):
        check_values({**DEFAULTS, name: value})


@pytest.mark.parametrize(
    "values", [{"min_range_m": 2.0}, {"background": "far", "far_m": 1.5}, {"max_range_m": 0.1}]
)
def test_contradictions_are_refused(values: dict) -> None:
    with pytest.raises(ParameterError, match="must be"):
        check_values({**DEFAULTS, **values})


def test_a_whole_number_will_do_for_a_double() -> None:
    assert check_values({**DEFAULTS, "far_m": 6})["far_m"] == 6.0


def test_the_defaults_are_the_estimators_own() -> None:
    assert EstimatorSettings(**parameters.estimator_settings(DEFAULTS)) == EstimatorSettings()


@pytest.mark.parametrize("name", parameters.ESTIMATOR_NAMES)
def test_what_the_table_allows_the_estimator_takes(name: str) -> None:
    for value in (BY_NAME[name].low, BY_NAME[name].high):
        wide = {"min_range_m": 0.001, "max_range_m": 50.0}
        EstimatorSettings(**{**wide, name: type(DEFAULTS[name])(value)})


def test_off_is_none_for_the_estimator() -> None:
    assert parameters.estimator_settings(DEFAULTS)["hand_length_m"] is None
    assert parameters.estimator_settings({**DEFAULTS, "hand_length_m": 0.18})["hand_length_m"] == 0.18


def test_every_parameter_goes_somewhere() -> None:
    """Each is the estimator's, the outputs' or read by name where the node starts: none is dead."""
    folder = ROOT / "hand_depth_ros" / "ros" / "node"
    source = "".join(
        (folder / f"{name}.py").read_text() for name in ("hand_depth_node", "fallback_estimator")
    )
    used = set(parameters.estimator_settings(DEFAULTS)) | set(vars(parameters.output_settings(DEFAULTS)))
    used |= {name for name in BY_NAME if f'"{name}"' in source}
    assert used == {parameter.name for parameter in PARAMETERS}


def test_misspelt_names_are_refused_and_foreign_ones_named() -> None:
    with pytest.raises(ParameterError, match=r"did you mean max_hands\?"):
        parameters.validate_misspelt(["max_hand"])
    names = ["camera.exposure", "qos_overrides./x.publisher.depth"]
    assert parameters.validate_misspelt(names) == ["camera.exposure"]
