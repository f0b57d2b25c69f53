"""Run the node under the names, frame and QoS of a known RGBD camera: docs/presets.md.

ros2 launch hand_depth_ros rgbd_camera.launch.py preset:=realsense image:=/usb_cam/image_raw
ros2 launch hand_depth_ros rgbd_camera.launch.py preset:=orbbec camera:=wrist
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from hand_depth_ros.ros.presets import NAMES, Preset
from launch import LaunchContext, LaunchDescription

CONFIG = Path(__file__).resolve().parent.parent / "config"
DEFAULT = "<the driver's>"

ARGUMENTS = [
    DeclareLaunchArgument("preset", choices=list(NAMES), description="Driver to publish like."),
    DeclareLaunchArgument(
        "camera", default_value=DEFAULT, description="Camera name: goes into namespace and frame ids."
    ),
    DeclareLaunchArgument(
        "image",
        default_value="",
        description="Colour image topic, with camera_info beside it; republished under the driver's name if "
        "it has another one. Empty: the colour camera already publishes under the driver's name.",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="raw",
        choices=["raw", "compressed"],
        description="Transport of the colour image.",
    ),
    DeclareLaunchArgument(
        "frame",
        default_value="driver",
        choices=["driver", "image"],
        description="Frame id of the outputs: the driver's (an identity transform ties it to the colour one) "
        "or the colour image's own.",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "hand_depth.yaml"),
        description="Further parameters of the node; the preset's own take precedence.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="Configure and activate at once.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="Take time from /clock (replay, simulation).",
    ),
]


def make_nodes(context: LaunchContext) -> list[Node]:
    """Return the node, and the colour relay if the colour topic has another name."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    camera = None if given["camera"] == DEFAULT else given["camera"]
    setup = Preset.load(given["preset"]).setup(camera, given["image"], given["frame"] == "driver")
    common = {"use_sim_time": given["use_sim_time"] == "true", "image_transport": given["image_transport"]}
    nodes = [
        Node(
            package="hand_depth_ros",
            executable="hand_depth_node",
            name="hand_depth",
            namespace=setup.namespace,
            remappings=list(setup.remappings),
            parameters=[
                given["params_file"],
                setup.parameters,
                common,
                {"autostart": given["autostart"] == "true"},
            ],
            output="screen",
            sigterm_timeout="20",
        )
    ]
    if setup.needs_relay:
        nodes.append(
            Node(
                package="hand_depth_ros",
                executable="colour_relay",
                name="colour_relay",
                namespace=setup.namespace,
                remappings=list(setup.relay_remappings),
                parameters=[setup.relay_parameters, common],
                output="screen",
            )
        )
    return nodes


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and what they start."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=make_nodes)])
