"""The workflow, CITATION.cff and issue templates agree with the repository."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import yaml
from support.paths import ROOT

import hand_depth_ros

MAKEFILE = (ROOT / "Makefile").read_text()
SETUP = (ROOT / "setup.py").read_text()


def workflow() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    """Return the lines that a job's steps run."""
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_the_workflow_lints_tests_and_builds() -> None:
    jobs = workflow()
    assert commands(jobs["lint"]) == ["make lint"] and commands(jobs["test"]) == ["make test"]
    assert "colcon build" in commands(jobs["colcon"])
    assert any(line.startswith("colcon test ") for line in commands(jobs["colcon"]))


def test_the_workflow_tests_every_supported_python() -> None:
    versions = workflow()["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.10", "3.11", "3.12", "3.13"]
    assert (
        f'python_requires=">={versions[0]}"' in SETUP and f"Python {versions[0]}-{versions[-1]}" in MAKEFILE
    )


def test_every_make_target_of_ci_exists() -> None:
    scripts = [*commands(workflow()["lint"]), *commands(workflow()["test"]), (ROOT / ".ci/run").read_text()]
    targets = re.findall(r"\bmake (\w+)", "\n".join(scripts))
    assert set(targets) == {"lint", "test"}
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_citation_has_the_version_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == hand_depth_ros.__version__
    licence = ElementTree.parse(ROOT / "package.xml").getroot().findtext("license")
    assert citation["license"] == licence and f'license="{licence}"' in SETUP


def test_issue_templates_ask_for_what_the_tools_print() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            assert form["name"] and form["description"] and form["body"], path.name
    assert "hand-depth doctor" in (ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text()
