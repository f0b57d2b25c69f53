"""What the documents say is true: links, commands, files, the changelog, the README's Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

import hand_depth_ros
from hand_depth_ros.cli import main as cli
from hand_depth_ros.ros import parameters
from hand_depth_ros.training import config

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
MAX_LINE = 100
ROOMS = ("hand_depth_ros/", "config/", "launch/", "test/", "bench/", "tools/", "docs/")
"""First parts of paths that are written from the repository's root."""


def every_document(function: Callable[..., None]) -> Callable[..., None]:
    """Run a test on each document."""
    return pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)(function)


def fences(path: Path, *languages: str) -> list[str]:
    """Return the code blocks of a document that are marked with one of the languages."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in blocks if language in languages]


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)) for text in headings]
    return {text.strip().lower().replace(" ", "-") for text in plain}


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the shell commands of a document's code blocks, as lists of words."""
    for block in fences(path, "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[;|]", line):
                words = shlex.split(re.sub(r"<[^>]*>|\$\([^)]*\)", "X", part), comments=True)
                words = words[next((i for i, word in enumerate(words) if "=" not in word), 0) :]
                if words:
                    yield words


@cache
def options_of(name: str) -> set[str]:
    """Return the options of a sub-command of hand-depth."""
    entry = cli.COMMANDS[name]
    app = typer.Typer(add_completion=False)
    app.command()(getattr(import_module(entry.module), entry.function))
    return {
        "--help",
        *(option for parameter in typer.main.get_command(app).params for option in parameter.opts),
    }


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@every_document
def test_lines_fit(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > MAX_LINE and not line.startswith(("|", "!["))]
    assert not [line for line in long if not re.fullmatch(r"- `test_\w+\.py::test_\w+`", line)]


@every_document
def test_named_commands_and_options_exist(path: Path) -> None:
    for name in re.findall(r"`hand-depth ([a-z]+)", path.read_text(encoding="utf-8")):
        assert name in cli.COMMANDS, name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands(path):
        named = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        match [Path(words[0]).name, *words[1:]]:
            case ["hand-depth", name, *_] if name in cli.COMMANDS:
                before_ros = set(words[: words.index("--ros-args")] if "--ros-args" in words else words)
                assert named & before_ros <= options_of(name), words
            case ["hand-depth", name, *_]:
                assert name in ("--help", "--version"), words
            case ["make", *targets]:
                assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), words
            case ["python", script, *_] if script.endswith(".py"):
                source = (ROOT / script).read_text(encoding="utf-8")
                assert all(f'"{option}"' in source for option in named), words
            case ["ros2", "launch", "hand_depth_ros", file, *arguments]:
                source = (ROOT / "launch" / file).read_text(encoding="utf-8")
                source += (ROOT / "launch" / "hand_depth.launch.py").read_text(encoding="utf-8")
                assert all(f'"{argument.partition(":=")[0]}"' in source for argument in arguments), words


@every_document
def test_named_files_exist(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([\w./]+)`", text):
        if name.startswith(ROOMS) and "*" not in name:
            assert (ROOT / name).exists(), name


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in cli.COMMANDS if f"`{name}`" not in text] == []


def test_design_names_every_package() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    packages = [file.parent for file in (ROOT / "hand_depth_ros").rglob("__init__.py")][1:]
    assert len(packages) > 10
    for package in packages:
        assert f"{package.name}/`" in text or f"{package.name}/" in text, package.name


def test_changelog_is_what_catkin_and_bloom_read() -> None:
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed (extra test)")
    found = changelog.get_changelog_from_path(str(ROOT / "CHANGELOG.rst"), "hand_depth_ros")
    assert found.package_name == "hand_depth_ros"
    versions = {version: content for version, _, content in found.foreach_version()}
    assert hand_depth_ros.__version__ in versions
    assert all(content for content in versions.values())


def test_changelog_has_every_renamed_name() -> None:
    text = " ".join((ROOT / "CHANGELOG.rst").read_text(encoding="utf-8").split())
    renamed = {**parameters.RENAMED, **config.RENAMED}
    renamed |= {f"hand-depth {old}": f"hand-depth {new}" for old, new in cli.RENAMED_COMMANDS.items()}
    assert len(renamed) > 10
    assert [old for old, new in renamed.items() if f"``{old}`` is now ``{new}``" not in text] == []


def test_readme_python_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = sorted((ROOT / "hand_depth_ros/demo/clip/rgb").glob("*.jpg"))[:3]
    video = tmp_path / "webcam.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (640, 480))
    for file in clip:
        writer.write(cv2.resize(cv2.imread(str(file)), (640, 480)))
    writer.release()
    webcam, calibrated = fences(ROOT / "README.md", "python")
    assert "VideoCapture(0)" in webcam
    scope: dict = {}
    exec(webcam.replace("VideoCapture(0)", f"VideoCapture({str(video)!r})"), scope)
    distances = re.findall(r"hand (\d): (\d\.\d{3}) m away, 0\.\d{3} m long", capsys.readouterr().out)
    assert len({number for number, _ in distances}) == 2 and len(distances) >= 4
    exec(calibrated, scope)
    depth, sigma = scope["frame"].depth, scope["frame"].sigma
    assert depth.dtype == sigma.dtype == np.float32 and depth.shape == (480, 640)
    assert np.isfinite(depth).any()
    assert [hand.hand_length_m for hand in scope["frame"].hands] == [pytest.approx(0.187)] * 2
