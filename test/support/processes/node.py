"""The node's entry point as the installed script calls it, saying when it does."""

import sys

from hand_depth_ros.ros.node.main import main

print("starting", flush=True)
sys.exit(main())
