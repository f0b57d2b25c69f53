"""Documents that come from the code: config/hand_depth.yaml, docs/parameters.md, the topics."""

from __future__ import annotations

import json
import textwrap

from hand_depth_ros.ros.messages.topics import OUTPUT_TOPICS
from hand_depth_ros.ros.parameters import PARAMETERS, QOS_VALUES

_PAGE = """# Parameters

Written by `tools/write_docs.py` from `hand_depth_ros/ros/parameters.py`; do not edit.

Copy `config/hand_depth.yaml`, which holds all of them at their defaults, or set one on the command
line:

```bash
ros2 run hand_depth_ros hand_depth_node --ros-args -p max_hands:=1
ros2 param set /hand_depth max_hands 1
```

The second command works for parameters that can change at run time; the change applies from the
next frame on. A value out of range, of the wrong type or in contradiction to another parameter is
rejected with the reason, and a misspelt or renamed parameter is an error that names the right one.
`hand-depth infer` and `hand-depth bag` offer some of them as options: see `--help`.

{table}
## Quality of service

`qos_overrides.TOPIC.publisher.POLICY` and `qos_overrides.TOPIC.subscription.POLICY` override the
QoS of any topic of the node. TOPIC is the full name after remapping
([example](operating.md#quality-of-service)).

| policy | values |
| --- | --- |
{policies}"""


def config_yaml() -> str:
    """Return `config/hand_depth.yaml`: every parameter with its default, explained."""
    lines = [
        "# Parameters of hand_depth_node at their defaults. Written by tools/write_docs.py.",
        "# Use:  ros2 run hand_depth_ros hand_depth_node --ros-args --params-file hand_depth.yaml",
        "# A parameter can change at run time (ros2 param set) unless its comment says: fixed at start.",
        "/**:",
        "  ros__parameters:",
    ]
    for parameter in PARAMETERS:
        notes = [parameter.help]
        notes += [f"Allowed: {parameter.range}."] if parameter.range else []
        notes += ["Fixed at start."] if parameter.read_only else []
        lines.append("")
        lines += [f"    # {line}" for line in textwrap.wrap(" ".join(notes), 94)]
        lines.append(f"    {parameter.name}: {json.dumps(parameter.default)}")
    return "\n".join(lines) + "\n"


def parameters_page() -> str:
    """Return `docs/parameters.md`."""
    rows = [
        "| parameter | type | default | allowed | at run time | description |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for p in PARAMETERS:
        changes = "no" if p.read_only else "yes"
        default, allowed = json.dumps(p.default), p.range or "any"
        rows.append(f"| `{p.name}` | {p.type} | `{default}` | {allowed} | {changes} | {p.help} |")
    policies = [
        f"| {name} | {', '.join(values) or 'messages to keep'} |" for name, values in QOS_VALUES.items()
    ]
    return _PAGE.format(table="\n".join(rows) + "\n", policies="\n".join(policies) + "\n")


def topic_table() -> str:
    """Return the table of the topics that the node publishes."""
    rows = ["| topic | type | content |", "| --- | --- | --- |"]
    for topic in OUTPUT_TOPICS:
        kind = " ".join(filter(None, (topic.type.rpartition("/")[2], topic.encoding)))
        rows.append(f"| `{topic.name}` | {kind} | {topic.text} |")
    return "\n".join(rows) + "\n"
