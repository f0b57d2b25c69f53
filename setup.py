"""Build the package, for colcon (ament_python) and for pip alike.

The metadata is not in pyproject.toml because the setuptools of Ubuntu 22.04 reads only this file.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "hand_depth_ros"
HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / NAME / "__init__.py").read_text()).group(1)


def files_under(folder: str, *patterns: str, relative_to: str = "") -> list[str]:
    """Return the files under ``folder`` that match any pattern, as setuptools wants them."""
    root = HERE / folder
    found = {path for pattern in patterns for path in root.rglob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(HERE / relative_to)) for path in found)


def files_in(folder: str, *patterns: str) -> list[str]:
    """Return the files that lie directly in ``folder``."""
    return [path for path in files_under(folder, *patterns) if Path(path).parent == Path(folder)]


setup(
    name=NAME,
    version=VERSION,
    description="Metric depth of hands from one colour camera, published the way an RGBD camera does",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The hand_depth_ros authors",
    maintainer="The hand_depth_ros authors",
    maintainer_email="hand-depth-ros@users.noreply.github.com",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: [
            "py.typed",
            *files_under(f"{NAME}/weights", "*", relative_to=NAME),
            *files_under(f"{NAME}/demo/clip", "*", relative_to=NAME),
            *files_under(NAME, "*.yaml", "*.toml", "*.json", "*.npz", relative_to=NAME),
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *(
            (f"share/{NAME}/{folder}", files_in(folder, "*.yaml", "*.xml"))
            for folder in ("config", "config/presets")
        ),
        (f"share/{NAME}/launch", files_under("launch", "*.launch.py")),
    ],
    install_requires=[
        "numpy>=1.26",
        "opencv-python-headless>=4.8,<5",
        "pyyaml",
        "rich>=12",
        "safetensors>=0.4",
        "torch>=2.2",
        "typer>=0.12",
    ],
    extras_require={
        # The ROS 2 Jazzy wheels of PyPI: for machines without ROS. On a robot, apt's ROS is used.
        "ros": [
            "ros-jazzy-diagnostic-msgs",
            "ros-jazzy-geometry-msgs",
            "ros-jazzy-lifecycle-msgs",
            "ros-jazzy-rclpy",
            "ros-jazzy-rmw-fastrtps-cpp",
            "ros-jazzy-sensor-msgs",
            "ros-jazzy-std-msgs",
            "ros-jazzy-std-srvs",
            "rosbags-image>=0.10,<0.11",
        ],
        "bag": ["rosbags>=0.11,<0.12", "rosbags-image>=0.10,<0.11"],
        "synth": [
            "anny>=0.6,<0.7",
            # Blender as a module exists for one Python version per release.
            "bpy==4.4.0; python_version == '3.11'",
            "bpy>=5.1; python_version == '3.13'",
            "scipy",
            "trimesh",
        ],
        "train": ["lightning>=2.4,<3", "tflite>=2.10"],
        "view": ["matplotlib"],
        "test": [
            "colcon-core",
            "colcon-library-path",
            "colcon-ros",
            "hypothesis",
            # Open3D wants libusb, which a bare machine lacks.
            "libusb-package; platform_machine == 'x86_64'",
            "mcap",
            "mypy>=1.10",
            "open3d-cpu>=0.19,<0.21; platform_machine == 'x86_64'",
            "pytest>=7,<9",
            "pytest-timeout",
            "pytest-xdist>=3.3",
            "ruff",
            "scipy",
            "types-PyYAML",
        ],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "hand-depth = hand_depth_ros.__main__:main",
            "hand_depth_node = hand_depth_ros.ros.node.main:main",
            "colour_relay = hand_depth_ros.ros.node.colour_relay:main",
        ]
    },
)
