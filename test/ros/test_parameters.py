"""The parameter table: values it accepts and rejects, and the files written from it."""

from __future__ import annotations

import subprocess
import sys

import docs_from_code
import pytest
import yaml
from support.paths import ROOT

from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.ros import parameters
from hand_depth_ros.ros.parameters import BY_NAME, DEFAULTS, PARAMETERS, ParameterError, check_values


def test_defaults_are_allowed() -> None:
    assert check_values(DEFAULTS) == DEFAULTS


def test_config_file_matches_the_table() -> None:
    text = (ROOT / "config" / "hand_depth.yaml").read_text()
    assert text == docs_from_code.config_yaml(), "run: python tools/write_docs.py"
    assert yaml.safe_load(text)["/**"]["ros__parameters"] == DEFAULTS


def test_parameters_page_matches_the_table() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text()
    assert page == docs_from_code.parameters_page(), "run: python tools/write_docs.py"


@pytest.mark.parametrize("module", ["hand_depth_ros.ros.parameters", "hand_depth_ros.cli.options"])
def test_imports_neither_torch_nor_numpy_nor_ros(module: str) -> None:
    """`--help` and the documentation read the table where nothing else is installed."""
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "cv2", "scipy", "rclpy", "rosbags", "lightning"}
    assert module in loaded.stdout.split()
    assert not heavy & {name.partition(".")[0] for name in loaded.stdout.split()}


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
def test_rejects_wrong_values_and_names_the_allowed_ones(name: str, value: object, reason: str) -> None:
    with pytest.raises(ParameterError, match=f"{name}.*{reason}"):
        check_values({**DEFAULTS, name: value})


@pytest.mark.parametrize(
    "values", [{"min_range_m": 2.0}, {"background": "far", "far_m": 1.5}, {"max_range_m": 0.1}]
)
def test_rejects_contradictions(values: dict) -> None:
    with pytest.raises(ParameterError, match=r"must (be|exceed)"):
        check_values({**DEFAULTS, **values})


def test_accepts_whole_number_for_double() -> None:
    assert check_values({**DEFAULTS, "far_m": 6})["far_m"] == 6.0


def test_defaults_equal_the_estimators() -> None:
    assert EstimatorSettings(**parameters.estimator_settings(DEFAULTS)) == EstimatorSettings()


@pytest.mark.parametrize("name", parameters.ESTIMATOR_NAMES)
def test_estimator_accepts_the_whole_range(name: str) -> None:
    for value in (BY_NAME[name].low, BY_NAME[name].high):
        wide = {"min_range_m": 0.001, "max_range_m": 50.0}
        EstimatorSettings(**{**wide, name: type(DEFAULTS[name])(value)})


def test_estimator_gets_none_for_off() -> None:
    assert parameters.estimator_settings(DEFAULTS)["hand_length_m"] is None
    assert parameters.estimator_settings({**DEFAULTS, "hand_length_m": 0.18})["hand_length_m"] == 0.18


def test_every_parameter_is_used() -> None:
    """Each belongs to the estimator or the outputs, or the node reads it by name."""
    folder = ROOT / "hand_depth_ros" / "ros" / "node"
    source = "".join(
        (folder / f"{name}.py").read_text()
        for name in ("hand_depth_node", "fallback_estimator", "assumed_camera")
    )
    used = set(parameters.estimator_settings(DEFAULTS)) | set(vars(parameters.output_settings(DEFAULTS)))
    used |= set(vars(parameters.decode_settings(DEFAULTS)))
    used |= {name for name in BY_NAME if f'"{name}"' in source}
    assert used == {parameter.name for parameter in PARAMETERS}


def test_rejects_misspelt_names_and_returns_foreign_ones() -> None:
    with pytest.raises(ParameterError, match=r"did you mean max_hands\?"):
        parameters.foreign_names(["max_hand"])
    names = ["camera.exposure", "qos_overrides./x.publisher.depth"]
    assert parameters.foreign_names(names) == ["camera.exposure"]


@pytest.mark.parametrize(("old", "new"), parameters.RENAMED.items())
def test_rejects_former_names_with_the_new_one(old: str, new: str) -> None:
    assert old not in BY_NAME and new in BY_NAME
    with pytest.raises(ParameterError, match=f"{old} is now called {new}"):
        parameters.foreign_names([old])
    with pytest.raises(ParameterError, match=f"{old} is now called {new}"):
        parameters.check_change(old, 5, known=False)
    with pytest.raises(ParameterError, match=f"{old} is now called {new}"):
        check_values({**DEFAULTS, old: 5})


def test_rejects_unknown_name_among_values() -> None:
    with pytest.raises(ParameterError, match="unknown parameter 'colour'"):
        check_values({**DEFAULTS, "colour": "blue"})


def test_untyped_encodings_are_colour_encodings() -> None:
    from hand_depth_ros.ros.messages.encodings import ENCODINGS

    assert set(parameters.UNTYPED_ENCODINGS) - {""} <= set(ENCODINGS)
