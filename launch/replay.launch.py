"""Play a recorded bag into the node on the bag's clock; everything ends with the bag.

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
    DeclareLaunchArgument("rate", default_value="1.0", description="Playback speed, 1 = as recorded."),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=["true", "false"], description="Repeat until interrupted."
    ),
    DeclareLaunchArgument(
        "delay",
        default_value="5.0",
        description="Seconds to wait for the node to load before playback starts.",
    ),
]


def play(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the player with the requested arguments."""
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
