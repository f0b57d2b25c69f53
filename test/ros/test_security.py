"""Least privilege: config/sros2_policy.xml equals the running node's needs.

Also: paths and files are checked before they are opened, and no code is run from data.
"""

from __future__ import annotations

import ast
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from hand_depth_ros.errors import WeightsError
from hand_depth_ros.estimation.estimator import SHIPPED_WEIGHTS, HandDepthEstimator

POLICY = ROOT / "config" / "sros2_policy.xml"
PROFILE = "enclaves/enclave/profiles/profile"
OTHERWISE = ("-p", "use_sim_time:=true", "-p", "image_transport:=compressed", "-r", "image:=/cam/image_raw")
NEEDED_OTHERWISE = {
    ("subscribe", "/clock"),
    ("subscribe", "/image/compressed"),
    ("publish", "/camera_info"),
}
"""Rights that the node needs only with certain arguments."""
NEEDED_WITH_TF = ("publish", "/tf_static")
"""Needed with depth_frame_id; tf2_ros, which publishes it, is not on PyPI."""

Rights = set[tuple[str, str]]


def policy_rights() -> Rights:
    """Return the (kind, name) pairs that the policy allows, expanded as sros2 does."""
    (profile,) = ElementTree.parse(POLICY).getroot().findall(PROFILE)
    space, node = profile.attrib["ns"].rstrip("/"), profile.attrib["node"]
    rights: Rights = set()
    for group in profile:
        for what, verdict in group.attrib.items():
            assert verdict == "ALLOW"
            for entry in group:
                name = (entry.text or "").strip()
                assert "*" not in name, "a wildcard is not the least right"
                expanded = name.replace("~", f"{space}/{node}", 1) if name[0] == "~" else name
                right = (what, expanded if expanded[0] == "/" else f"{space}/{expanded}")
                assert right not in rights, f"{name} stands there twice"
                rights.add(right)
    return rights


def running_rights(*ros_args: str) -> Rights:
    """Return what the node with these arguments has in the graph, seen from outside."""
    from support import ros_graph

    domain = ros_graph.some_domain()
    node = ros_graph.NodeProcess(domain, *ros_args)
    client = ros_graph.Client(domain)
    try:
        look = client.node
        client.spin_until(lambda: "hand_depth" in look.get_node_names() or not node.running)
        seen: list[Rights] = []

        def rights() -> Rights:
            ends = {
                "publish": look.get_publisher_names_and_types_by_node,
                "subscribe": look.get_subscriber_names_and_types_by_node,
                "reply": look.get_service_names_and_types_by_node,
                "request": look.get_client_names_and_types_by_node,
            }
            return {(what, name) for what, ask in ends.items() for name, _ in ask("hand_depth", "/")}

        def settled() -> bool:
            """Wait for ten equal snapshots, half a second apart."""
            assert node.running, node.output
            client.spin_for(0.5)
            seen.append(rights())
            return len(seen) >= 10 and all(one == seen[-1] for one in seen[-10:])

        client.spin_until(settled)
        return seen[-1]
    finally:
        client.close()
        node.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Rights]:
    pytest.importorskip("rclpy", reason="ROS 2 is not there: source it, or pip install 'hand_depth_ros[ros]'")
    yield running_rights()


def test_policy_allows_all_that_the_node_uses(running: Rights) -> None:
    missing = running - policy_rights()
    assert not missing, f"add to config/sros2_policy.xml: {sorted(missing)}"


def test_policy_allows_nothing_that_the_node_does_not_use(running: Rights) -> None:
    unused = policy_rights() - running - NEEDED_OTHERWISE - {NEEDED_WITH_TF}
    assert not unused, f"take out of config/sros2_policy.xml: {sorted(unused)}"


def test_conditional_rights_are_used_with_their_arguments(running: Rights) -> None:
    moved = {"/cam/image_raw/compressed": "/image/compressed", "/cam/camera_info": "/camera_info"}
    found = {(what, moved.get(name, name)) for what, name in running_rights(*OTHERWISE)}
    assert not found - policy_rights()
    assert found >= NEEDED_OTHERWISE and NEEDED_WITH_TF in policy_rights()


BAD_FOLDERS = {
    "not there": lambda folder: folder / "nowhere",
    "a NUL in it": lambda folder: Path(f"{folder}/a\0b"),
    "longer than a path can be": lambda folder: folder / ("x" * 5000),
    "a loop of links": lambda folder: link(folder / "loop", folder / "loop"),
    "no folder but a device": lambda _folder: Path("/dev/zero"),
    "with a pipe for a file": lambda folder: special(folder, lambda path: os.mkfifo(path)),
    "with a link to a device": lambda folder: special(folder, lambda path: path.symlink_to("/dev/zero")),
    "with a file of 8 TB": lambda folder: special(folder, lambda path: sparse(path, 8 * 10**12)),
    "with an empty file": lambda folder: special(folder, lambda path: path.touch()),
}


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def special(folder: Path, make: object) -> Path:
    make(folder / "hand_depth.safetensors")  # type: ignore[operator]
    return folder


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("this file system has no files of 8 TB")


@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_rejects_weights_paths_that_would_hang_or_fill_memory(fault: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        HandDepthEstimator.from_pretrained(weights=BAD_FOLDERS[fault](tmp_path), device="cpu")
    assert "hand_depth.safetensors" in str(error.value)
    assert "8 TB" not in fault or "8,000,000,000,000 bytes" in str(error.value)  # refused before it is opened


def test_shipped_weights_are_safetensors_and_text() -> None:
    assert {path.suffix for path in SHIPPED_WEIGHTS.iterdir() if path.is_file()} <= {
        ".safetensors",
        ".md",
        ".json",
    }


RUNS_CODE = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "torch.load",
    "yaml.load",
}
RUNS_CODE |= {"yaml.unsafe_load", "yaml.full_load", "joblib.load", "marshal.loads", "shelve.open"}
NODE_FOLDERS = ("ros", "network", "calibration")


def test_node_code_executes_no_data() -> None:
    package = ROOT / "hand_depth_ros"
    paths = list(package.glob("*.py"))
    paths += [path for folder in NODE_FOLDERS for path in (package / folder).rglob("*.py")]
    assert len(paths) > 20
    for path in paths:
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            assert name not in RUNS_CODE, f"{path.name}:{call.lineno} calls {name}"
            shell = [k for k in call.keywords if k.arg in ("shell", "allow_pickle")]
            assert all(ast.unparse(k.value) == "False" for k in shell), f"{path.name}:{call.lineno}"
