"""A recorded bag played into the node, on the bag's own clock; everything ends when the bag does.

ros2 launch hand_depth_ros replay.launch.py bag:=my_bag image:=/camera/color/image_raw
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

HERE = Path(__file__).resolve().parent

ARGUMENTS = [
    DeclareLaunchArgument("bag", description="Bag to play: a rosbag2 folder, or a .db3 or .mcap file."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Speed, 1 = as recorded."),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=["true", "false"], description="Play it again and again."
    ),
    DeclareLaunchArgument(
        "delay", default_value="5.0", description="Seconds before it starts, in which the node loads."
    ),
]


def play(context: LaunchContext) -> list[ExecuteProcess]:
    """The player with the arguments asked for."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    command = [
        "ros2",
        "bag",
        "play",
        given["bag"],
        "--clock",
        "--rate",
        given["rate"],
        "--delay",
        given["delay"],
    ]
    if given["loop"] == "true":
        command.append("--loop")
    return [ExecuteProcess(cmd=command, output="screen", on_exit=Shutdown(reason="the bag is at its end"))]


def generate_launch_description() -> LaunchDescription:
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "hand_depth.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*ARGUMENTS, node, OpaqueFunction(function=play)])
