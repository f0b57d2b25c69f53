"""The networks, their configs and their weights files.

Knows nothing of ROS, cameras or training.
"""

from hand_depth_ros.network.config import DetectorConfig, NetworkConfig
from hand_depth_ros.network.detector import HandDetectorNet
from hand_depth_ros.network.hourglass import HandDepthNet, StageOutput
from hand_depth_ros.network.weights import load_weights, save_weights

__all__ = [
    "DetectorConfig",
    "HandDepthNet",
    "HandDetectorNet",
    "NetworkConfig",
    "StageOutput",
    "load_weights",
    "save_weights",
]
