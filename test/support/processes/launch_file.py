"""Run a launch file as `ros2 launch FILE NAME:=VALUE...` does, without ros2cli."""

import sys

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription, LaunchService

path, *given = sys.argv[1:]
arguments = [tuple(argument.split(":=", 1)) for argument in given]
service = LaunchService()
source = PythonLaunchDescriptionSource(path)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
