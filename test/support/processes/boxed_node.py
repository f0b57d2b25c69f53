"""Run the real node with networks of random weights and the middle of every image as its box."""

import sys

from support.boxed_estimator import boxed_estimator

from hand_depth_ros.ros.node.main import main

sys.exit(main(estimator_factory=boxed_estimator))
