"""Declare the parameter table on a node."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from hand_depth_ros.ros import parameters


def declare(node: Node) -> dict[str, parameters.Value]:
    """Declare every parameter of the table; return the values given, else the defaults.

    Raises:
        ParameterError: A value cannot be used, or a given name is nearly one of ours.
    """
    values = {
        p.name: node.declare_parameter(p.name, p.default, _descriptor(p)).value for p in parameters.PARAMETERS
    }
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    for name in parameters.foreign_names(unknown):
        node.get_logger().warning(f"parameter {name!r} is not one of this node's: it has no effect")
    parameters.check_qos_overrides({name: p.value for name, p in node._parameter_overrides.items()})
    return parameters.check_values(values)


def warn_of_idle_qos_overrides(node: Node) -> None:
    """Log the qos_overrides that were given for a topic that this node does not have.

    Call it on an active node: by then all of its own are declared.
    """
    for name in node._parameter_overrides:
        if name.startswith(parameters.QOS_OVERRIDES) and not node.has_parameter(name):
            node.get_logger().warning(
                f"{name} has no effect: this node has no such topic (full name, after remapping) in that role"
            )


def _descriptor(parameter: parameters.Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.help,
        read_only=parameter.read_only,
        additional_constraints=parameter.range,
        # A double takes a whole number too; the table checks the type.
        dynamic_typing=parameter.type == "double",
    )
    low, high = parameter.low, parameter.high
    if low is not None and high is not None and parameter.off is None:
        if parameter.type == "int":
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return descriptor
