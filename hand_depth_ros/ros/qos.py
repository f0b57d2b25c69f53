"""Quality of service: what the node offers, and how it adapts its requests to a camera."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from rclpy.duration import Duration, Infinite
from rclpy.qos import (
    QoSCompatibility,
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

RELIABLE = QoSReliabilityPolicy.RELIABLE
BEST_EFFORT = QoSReliabilityPolicy.BEST_EFFORT
VOLATILE = QoSDurabilityPolicy.VOLATILE
TRANSIENT_LOCAL = QoSDurabilityPolicy.TRANSIENT_LOCAL
DEPTH = 5
"""Messages kept per topic."""
POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def output_qos() -> QoSProfile:
    """Return reliable, volatile, depth 5, as cameras offer (REP 2003): every subscriber matches."""
    return _profile(RELIABLE, VOLATILE)


def input_qos(reliability: QoSReliabilityPolicy, durability: QoSDurabilityPolicy) -> QoSProfile:
    """Return the QoS to request from a camera: depth 5, and the given policies."""
    return _profile(reliability, durability)


def overridable(policies: Iterable[QoSPolicyKind] = POLICIES) -> QoSOverridingOptions:
    """Return options that declare `qos_overrides.<topic>.publisher|subscription.*` parameters.

    Unlike rclpy's default they include durability.
    """
    return QoSOverridingOptions(tuple(policies))


def override_name(topic: str, entity: str, policy: str) -> str:
    """Return the name of a policy's parameter; `entity` is publisher or subscription."""
    return f"qos_overrides.{topic}.{entity}.{policy}"


def full_name(endpoint: TopicEndpointInfo) -> str:
    """Return the node of a publisher or subscription, as `ros2 node list` prints it."""
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def is_known(full_name: str) -> bool:
    """Return False for an endpoint of a participant that the middleware does not know yet.

    Its namespace is "_NODE_NAMESPACE_UNKNOWN_".
    """
    return full_name.startswith("/")


def incompatible_subscriber(topic: str, peer: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Return why the subscriber `peer` of our `topic` receives nothing, and the cure; or ""."""
    return "; ".join(
        f"subscriber {peer} of {topic} asks for {_words(getattr(asked, policy))} and we offer "
        f"{_words(getattr(offered, policy))}: set {override_name(topic, 'publisher', policy)} to "
        f"{getattr(asked, policy).name.lower()}, or ask for {_words(getattr(offered, policy))} there"
        for policy in _clashes(offered, asked)
    ) or _other_clash(f"subscriber {peer} of {topic} receives nothing", offered, asked)


def incompatible_publisher(topic: str, peer: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Return why we receive nothing from the publisher `peer` of `topic`, and the cure; or ""."""
    return "; ".join(
        f"publisher of {topic} is {_words(getattr(offered, policy))} and "
        f"{override_name(topic, 'subscription', policy)} asks for {_words(getattr(asked, policy))}: set it to "
        f"{getattr(offered, policy).name.lower()}, or change {policy} in {peer}"
        for policy in _clashes(offered, asked)
    ) or _other_clash(f"nothing is received from publisher {peer} of {topic}", offered, asked)


def durability_to_ask(
    offers: Iterable[QoSDurabilityPolicy], current: QoSDurabilityPolicy
) -> QoSDurabilityPolicy:
    """Return transient local if every publisher offers it, else volatile.

    Only transient local receives a camera_info that was published once, before the node started.
    Without any publisher the current durability stays.
    """
    offered = set(offers)
    if not offered:
        return current
    return TRANSIENT_LOCAL if offered == {TRANSIENT_LOCAL} else VOLATILE


def reliability_to_ask(
    offers: Iterable[QoSReliabilityPolicy], current: QoSReliabilityPolicy
) -> QoSReliabilityPolicy:
    """Return reliable unless a publisher offers best effort only.

    With best effort Fast DDS loses images that outgrow its shared memory. A reliable subscriber
    receives nothing from a best-effort publisher, so one of these decides for best effort. Without
    any publisher the current reliability stays.
    """
    offered = set(offers)
    if not offered:
        return current
    return BEST_EFFORT if BEST_EFFORT in offered else RELIABLE


def _clashes(offered: QoSProfile, asked: QoSProfile) -> list[str]:
    """Return the policies, of those both ends can change, that request more than is offered."""
    clashes = []
    if (offered.reliability, asked.reliability) == (BEST_EFFORT, RELIABLE):
        clashes.append("reliability")
    if (offered.durability, asked.durability) == (VOLATILE, TRANSIENT_LOCAL):
        clashes.append("durability")
    return clashes


def _other_clash(what: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Return a clash of deadline or liveliness in the words of rmw, or ""."""
    compatibility, reason = qos_check_compatible(_unlimited(offered), _unlimited(asked))
    return f"{what}: {reason}" if compatibility == QoSCompatibility.ERROR else ""


def _unlimited(profile: QoSProfile) -> QoSProfile:
    """Replace infinite durations by "not set", as in our own profiles.

    The graph reports infinite durations, which qos_check_compatible takes for a request.
    """
    profile = copy.copy(profile)
    for name in ("deadline", "liveliness_lease_duration"):
        if getattr(profile, name) >= Infinite:
            setattr(profile, name, Duration())
    return profile


def _words(policy: QoSReliabilityPolicy | QoSDurabilityPolicy) -> str:
    return policy.name.lower().replace("_", " ")


def _profile(reliability: QoSReliabilityPolicy, durability: QoSDurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=reliability,
        durability=durability,
    )
