"""Quality of service: what we offer, and how we ask for what a camera offers."""

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
POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def output_qos() -> QoSProfile:
    """Reliable, volatile, depth 5, as cameras offer (REP 2003): whatever the subscriber, it matches."""
    return _profile(RELIABLE, VOLATILE)


def input_qos(reliability: QoSReliabilityPolicy, durability: QoSDurabilityPolicy) -> QoSProfile:
    """What we ask a camera for: as sensor data (REP 2003), but for what is adapted to its offer."""
    return _profile(reliability, durability)


def overridable(policies: Iterable[QoSPolicyKind] = POLICIES) -> QoSOverridingOptions:
    """The policies as parameters `qos_overrides.<topic>.publisher|subscription.*` (rclpy's default leaves
    durability out)."""
    return QoSOverridingOptions(tuple(policies))


def override_name(topic: str, entity: str, policy: str) -> str:
    """The parameter of a policy; `entity` is publisher or subscription."""
    return f"qos_overrides.{topic}.{entity}.{policy}"


def full_name(endpoint: TopicEndpointInfo) -> str:
    """The node that a publisher or subscription belongs to, as `ros2 node list` has it."""
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def is_known(full_name: str) -> bool:
    """Not so for an endpoint whose participant the middleware has not heard of yet: it is "_NODE_NAMESPACE_UNKNOWN_/..."."""
    return full_name.startswith("/")


def deaf_subscriber(topic: str, peer: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Why the subscriber `peer` of our output `topic` hears nothing, and the policy to change; "" if it hears."""
    return "; ".join(
        f"subscriber {peer} of {topic} asks for {_words(getattr(asked, policy))} and we offer "
        f"{_words(getattr(offered, policy))}: set {override_name(topic, 'publisher', policy)} to "
        f"{getattr(asked, policy).name.lower()}, or ask for {_words(getattr(offered, policy))} there"
        for policy in _clashes(offered, asked)
    ) or _other_clash(f"subscriber {peer} of {topic} hears nothing", offered, asked)


def mute_publisher(topic: str, peer: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Why we hear nothing of the publisher `peer` of our input `topic`, and the policy to change; "" if we do."""
    return "; ".join(
        f"publisher of {topic} is {_words(getattr(offered, policy))} and "
        f"{override_name(topic, 'subscription', policy)} asks for {_words(getattr(asked, policy))}: set it to "
        f"{getattr(offered, policy).name.lower()}, or change {policy} in {peer}"
        for policy in _clashes(offered, asked)
    ) or _other_clash(f"publisher {peer} of {topic} isn't heard", offered, asked)


def durability_to_ask(
    offers: Iterable[QoSDurabilityPolicy], current: QoSDurabilityPolicy
) -> QoSDurabilityPolicy:
    """Transient local where every publisher offers it: only so is a camera_info heard that was published once.

    Without any publisher it stays as it is.
    """
    offered = set(offers)
    if not offered:
        return current
    return TRANSIENT_LOCAL if offered == {TRANSIENT_LOCAL} else VOLATILE


def reliability_to_ask(
    offers: Iterable[QoSReliabilityPolicy], current: QoSReliabilityPolicy
) -> QoSReliabilityPolicy:
    """Reliable where it is offered: by best effort Fast DDS loses images that outgrow its shared memory.

    A reliable subscriber never hears a best effort publisher, so one such publisher among several decides for
    best effort. Without any publisher it stays as it is.
    """
    offered = set(offers)
    if not offered:
        return current
    return BEST_EFFORT if BEST_EFFORT in offered else RELIABLE


def _clashes(offered: QoSProfile, asked: QoSProfile) -> list[str]:
    """Of the policies that both ends can change: those in which more is asked for than offered."""
    clashes = []
    if (offered.reliability, asked.reliability) == (BEST_EFFORT, RELIABLE):
        clashes.append("reliability")
    if (offered.durability, asked.durability) == (VOLATILE, TRANSIENT_LOCAL):
        clashes.append("durability")
    return clashes


def _other_clash(what: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Deadlines and liveliness, in rmw's words."""
    compatibility, reason = qos_check_compatible(_unlimited(offered), _unlimited(asked))
    return f"{what}: {reason}" if compatibility == QoSCompatibility.ERROR else ""


def _unlimited(profile: QoSProfile) -> QoSProfile:
    """With "no limit" said as our own profiles say it: the graph gives the infinite duration, which
    qos_check_compatible takes for one that was asked for."""
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
