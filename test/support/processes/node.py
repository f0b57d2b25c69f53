"""Run the node as the installed script does, and print "starting" before."""

import sys

from hand_depth_ros.ros.node.main import main

print("starting", flush=True)
sys.exit(main())
