"""Print what the doctor saw and found."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hand_depth_ros.doctor.graph import COMPRESSED_IMAGE, Endpoint, Finding, Graph, Topic
from hand_depth_ros.errors import counted

_LEVEL_STYLES = ("green", "yellow", "red", "red")
"""Styles of diagnostics' OK, WARN, ERROR and STALE."""


def show(console: Console, graph: Graph, found: list[Finding]) -> None:
    """Print the node: tables of inputs and outputs, then the findings, one a line."""
    title = Text(graph.node, style="bold")
    if graph.status is not None:
        title.append(f"  says: {graph.status[1]}", style=_LEVEL_STYLES[min(graph.status[0], 3)])
    console.print(title, soft_wrap=True)
    inputs = [graph.topics[name] for name in graph.inputs]
    console.print(_table("reads", inputs, lambda topic: topic.publishers))
    used = [graph.topics[name] for name in graph.outputs if graph.topics[name].subscriptions]
    console.print(_table("is read on", used, lambda topic: topic.subscriptions))
    console.print(f"{counted(len(graph.outputs) - len(used), 'other output')} that nobody reads", style="dim")
    for finding in sorted(found, key=lambda finding: not finding.breaks):
        console.print(_line(finding), soft_wrap=True)
    if not any(finding.breaks for finding in found):
        console.print("all is well", style="bold green")
    console.print()


def _line(finding: Finding) -> Text:
    where = " ".join(filter(None, (finding.topic, finding.peer and f"({finding.peer})")))
    word, style = ("broken  ", "bold red") if finding.breaks else ("look at ", "yellow")
    line = Text(word, style=style)
    line.append(f"{where}: {finding.problem}", style="default")
    if finding.cure:
        line.append(f": {finding.cure}", style="cyan")
    return line


def _table(title: str, topics: Iterable[Topic], ends: Callable[[Topic], list[Endpoint]]) -> Table:
    table = Table(
        *(Column(header, overflow="fold") for header in ("topic", "node", "QoS", "Hz", "last")),
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 2),
    )
    for topic in topics:
        rate = "" if topic.heard is None else f"{topic.heard.rate:.1f}"
        rows: list[Endpoint | None] = [*ends(topic)] or [None]
        for index, end in enumerate(rows):
            first = index == 0
            table.add_row(
                Text(topic.name if first else ""),
                Text(end.node if end else "nobody", style="" if end else "red"),
                Text(_qos_text(end) if end else ""),
                Text(rate if first else ""),
                Text(_last_text(topic) if first else ""),
            )
    return table


def _qos_text(end: Endpoint) -> str:
    return f"{end.qos.reliability.name.lower()}, {end.qos.durability.name.lower()}"


def _last_text(topic: Topic) -> str:
    """Return size and encoding of the last message; a camera_info's size and frame."""
    last = topic.heard.last if topic.heard else None
    if last is None:
        return ""
    if topic.type == COMPRESSED_IMAGE:
        return str(last.format)
    return f"{last.width}x{last.height} {getattr(last, 'encoding', last.header.frame_id)}"
