"""Quality of service: what we offer, and how we ask for what a camera offers."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

RELIABLE = QoSReliabilityPolicy.RELIABLE
BEST_EFFORT = QoSReliabilityPolicy.BEST_EFFORT
VOLATILE = QoSDurabilityPolicy.VOLATILE
TRANSIENT_LOCAL = QoSDurabilityPolicy.TRANSIENT_LOCAL
DEPTH = 5


def output_qos() -> QoSProfile:
    """Reliable, volatile, depth 5, as cameras offer (REP 2003): whatever the subscriber, it matches."""
    return _profile(RELIABLE, VOLATILE)


def input_qos(reliability: QoSReliabilityPolicy, durability: QoSDurabilityPolicy) -> QoSProfile:
    """What we ask a camera for."""
    return _profile(reliability, durability)


def overridable() -> QoSOverridingOptions:
    """All four policies as parameters `qos_overrides.<topic>.publisher.*` (rclpy's default has three)."""
    return QoSOverridingOptions(
        (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
    )


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


def _profile(reliability: QoSReliabilityPolicy, durability: QoSDurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=reliability,
        durability=durability,
    )
