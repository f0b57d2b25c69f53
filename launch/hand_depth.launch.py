"""Run the node for a camera that is already running.

ros2 launch hand_depth_ros hand_depth.launch.py image:=/camera/color/image_raw
ros2 launch hand_depth_ros hand_depth.launch.py image:=/cam/image_raw params_file:=my.yaml
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

CONFIG = Path(__file__).resolve().parent.parent / "config"

ARGUMENTS = [
    DeclareLaunchArgument("image", default_value="image", description="Colour image topic."),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="CameraInfo topic. Empty: the one beside the image."
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="Transport of the image. Empty: as in the parameter file.",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "hand_depth.yaml"),
        description="Parameter file; the default one explains every parameter.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="Take time from /clock (replay, simulation).",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=["", "true", "false"],
        description="Configure and activate at once, or wait for a lifecycle manager. Empty: as in the "
        "parameter file (true by default).",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Log level of the node.",
    ),
]


def make_node(context: LaunchContext) -> list[Node]:
    """Return the node with the requested remappings and parameters."""
    given = {name: LaunchConfiguration(name).perform(context) for name in context.launch_configurations}
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    parameters: list = [given["params_file"], {"use_sim_time": given["use_sim_time"] == "true"}]
    if given["image_transport"]:
        parameters.append({"image_transport": given["image_transport"]})
    if given["autostart"]:
        parameters.append({"autostart": given["autostart"] == "true"})
    logger = ".".join([*filter(None, given["namespace"].split("/")), "hand_depth"])
    return [
        Node(
            package="hand_depth_ros",
            executable="hand_depth_node",
            name="hand_depth",
            namespace=given["namespace"],
            remappings=remappings,
            parameters=parameters,
            ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
            output="screen",
            sigterm_timeout="20",  # normally it exits within a second
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and what they start."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=make_node)])
