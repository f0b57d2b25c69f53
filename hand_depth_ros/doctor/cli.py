"""The `hand-depth doctor` command: look at a running node, its camera and its consumers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from hand_depth_ros.ros.node.runtime import prepare_ros

FILE_COLUMNS = 200
"""Width of the tables where the output is no terminal: topic names stay whole."""


def doctor(
    node: Annotated[
        str | None,
        typer.Option(
            help="The node, with its namespace.  [default: every one called hand_depth]", show_default=False
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to listen.", min=0.5, max=60.0)] = 4.0,
) -> None:
    """Look at a running node, its camera and its consumers, and say what keeps them from working.

    Lists inputs (publishers, QoS, rate, size) and outputs (each with the nodes that read it), then
    what is wrong with the cure: incompatible QoS, lost images, a missing camera_info beside an
    image, sizes or encodings that don't go together.

    Exit code: 0 when all is well, 1 when something keeps the node or a consumer from working (or no
    node is there).
    """
    prepare_ros()
    from hand_depth_ros.doctor import checks, probe, report

    console = Console(width=None if sys.stdout.isatty() else FILE_COLUMNS)
    broken = 0
    for graph in probe.examine(node, seconds):
        found = checks.findings(graph)
        broken += sum(finding.breaks for finding in found)
        report.show(console, graph, found)
    raise typer.Exit(1 if broken else 0)
