"""What a rendered view shows: crops, frames, clips, grasps and objects."""
