"""Run the real node with a fake estimator inside."""

import sys

from support.fakes import fake_factory, fake_tf2_ros

from hand_depth_ros.ros.node.main import main

fake_tf2_ros()
sys.exit(main(estimator_factory=fake_factory))
