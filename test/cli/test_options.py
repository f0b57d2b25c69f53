"""Options: the ranges are the node's, and wrong values give one clear line."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.ros.parameters import BY_NAME, DEFAULTS, RENAMED, estimator_settings

INFER = ("infer", "nowhere.png", "--hfov", "60", "--out", "{out}")
BAG = ("bag", "nowhere", "{out}", "--image", "/image")
WRONG = [
    ("--min-range-m", "3"),
    ("--min-range-m", "nan"),
    ("--max-range-m", "1000"),
    ("--max-sigma-m", "-1"),
    ("--max-hands", "99"),
    ("--max-hands", "0"),
    ("--hand-length-m", "19"),
    ("--threads", "-1"),
]
WRONG_OF_BAG = [
    ("--far-m", "1.5"),
    ("--far-m", "66"),
    ("--far-m", "0"),
    ("--namespace", "no spaces"),
    ("--namespace", "/a//b"),
    ("--namespace", "/7"),
]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [(command, wrong) for command in (INFER, BAG) for wrong in WRONG]
    + [(BAG, wrong) for wrong in WRONG_OF_BAG],
)
def test_rejects_values_that_the_node_would_refuse(tmp_path: Any, command: Any, wrong: Any) -> None:
    if command is BAG:
        pytest.importorskip("rosbags", reason="the bag extra is not installed")
    arguments = [part.format(out=tmp_path / "out") for part in command]
    result = CliRunner().invoke(cli.app, [*arguments, *wrong])
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1 and wrong[0] in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("namespace", ["", "/", "left", "/left/hand_2", "/left/"])
def test_accepts_valid_ros_names(namespace: str) -> None:
    from hand_depth_ros.bag.cli import NAMESPACE

    assert NAMESPACE.fullmatch(namespace)


def test_zero_means_off() -> None:
    values = options.checked(max_sigma_m=0.0, hand_length_m=0.0)
    settings = estimator_settings(values)
    assert settings["max_sigma_m"] is None and settings["hand_length_m"] is None
    assert options.checked(max_sigma_m=None) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("max_hands", options.MaxHands),
        ("hand_length_m", options.HandLength),
        ("min_range_m", options.MinRange),
        ("max_range_m", options.MaxRange),
        ("max_sigma_m", options.MaxSigma),
        ("num_threads", options.Threads),
    ],
)
def test_help_states_the_parameters_range_and_default(name: str, option: Any) -> None:
    (info,) = (part for part in get_args(option) if isinstance(part, typer.models.OptionInfo))
    assert re.search(re.escape(BY_NAME[name].range), info.help or "")
    assert f"[default: {DEFAULTS[name]}]" in (info.help or "")


@pytest.mark.parametrize("command", ["infer", "bag"])
def test_commands_use_the_parameters_defaults(command: str) -> None:
    entry = cli.COMMANDS[command]
    function = getattr(importlib.import_module(entry.module), entry.function)
    given = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    assert "max_hands" in given
    for name in given.keys() & DEFAULTS.keys():
        assert given[name] in (None, DEFAULTS[name]), name


def test_former_names_are_rejected_with_the_new_one() -> None:
    for old, new in RENAMED.items():
        with pytest.raises(typer.BadParameter, match="--" + new.replace("_", "-")):
            options.checked(**{old: 3})


@pytest.mark.parametrize(
    "arguments",
    [
        ("infer", "a.png", "--hfov", "60", "--out"),
        ("evaluate", ".", "--out"),
        ("demo", "--out"),
        ("train", "{config}", "--out"),
        ("synth", "--out"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_reports_an_unwritable_folder_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "config.yaml").write_text("task: depth\n")
    command = [part.format(config=tmp_path / "config.yaml") for part in arguments]
    for folder in ("file", "file/deeper"):
        result = CliRunner().invoke(cli.app, [*command, str(tmp_path / folder)])
        assert result.exit_code == 2 and "is a file: name a folder" in " ".join(result.stderr.split())
    monkeypatch.setattr(
        options.os, "access", lambda path, mode: Path(path) != tmp_path
    )  # root may write anywhere
    result = CliRunner().invoke(cli.app, [*command, str(tmp_path / "new")])
    assert result.exit_code == 2 and "cannot be written to: name another folder" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("infer", ".", "--out", "o", "--fx", "300", "--cx", "1"), "--fy --cy missing"),
        (("infer", ".", "--out", "o", "--fx", "0", "--fy", "9", "--cx", "1", "--cy", "1"), "--fx is 0"),
        (("infer", ".", "--out", "o", "--fx", "9", "--fy", "9", "--cx", "nan", "--cy", "1"), "--cx is nan"),
        (("infer", ".", "--out", "o", "--hfov", "nan"), "--hfov is nan"),
        (("evaluate", ".", "--hfov", "0"), "--hfov is 0"),
        (("evaluate", ".", "--json", "."), "a folder: name a file"),
        (("calibrate", "--ruler-m", "0.18", "--hfov", "60"), "--hfov and --cameras are for IMAGES"),
    ],
)
def test_reports_wrong_options_before_the_work(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2 and message in result.stderr
