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
    TimerAction,
)
from launch.events.process import ProcessExited
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


def play(context: LaunchContext) -> list[TimerAction]:
    """Return the player, started after the delay; end with an error if it cannot play the bag."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    bag = Path(given["bag"]).expanduser()
    if not bag.exists():
        raise FileNotFoundError(
            f"no bag at {bag.absolute()}: give bag:= a rosbag2 folder, or a .db3 or .mcap"
        )
    # Not ros2 bag play's own --delay, which waits again at the start of every loop.
    command = ["ros2", "bag", "play", str(bag), "--clock", "--rate", given["rate"]]
    if given["loop"] == "true":
        command.append("--loop")
    player = ExecuteProcess(cmd=command, output="screen", on_exit=end)
    return [TimerAction(period=float(given["delay"]), actions=[player])]


def end(event: ProcessExited, context: LaunchContext) -> Shutdown:
    """Shut down once the player has ended; raise if it failed, so that launch ends with 1."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"ros2 bag play ended with exit code {event.returncode}: see its output above")
    return Shutdown(reason="the bag is at its end")


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the node and the player."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "hand_depth.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*ARGUMENTS, node, OpaqueFunction(function=play)])
