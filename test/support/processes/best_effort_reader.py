"""Subscribe best effort to image topics and print a line per message: topic, stamp.

It imports nothing of ours and has whatever environment it is given, as a consumer's process has.
"""

import sys

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("best_effort_reader")
    for topic in sys.argv[1:]:

        def hear(message: Image, topic: str = topic) -> None:
            stamp = message.header.stamp
            print(topic, stamp.sec * 1_000_000_000 + stamp.nanosec, flush=True)

        node.create_subscription(Image, topic, hear, qos_profile_sensor_data)
    rclpy.spin(node)


main()
