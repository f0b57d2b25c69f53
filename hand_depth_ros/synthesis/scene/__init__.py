"""Content of rendered views: crops, frames, clips, grasps and objects."""
