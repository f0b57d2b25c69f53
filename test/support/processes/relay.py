"""Run the colour relay, with a stand-in for tf2_ros where that is not installed."""

import sys

from support.fakes import fake_tf2_ros

from hand_depth_ros.ros.node.colour_relay import main

fake_tf2_ros()
sys.exit(main(sys.argv))
