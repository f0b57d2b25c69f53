"""Metric depth of hands from one colour camera, published the way an RGBD camera does.

For programs:

camera.Camera                   intrinsics and distortion of the colour camera, pixels
estimator.HandDepthEstimator    ``estimate(rgb, camera)``: a picture's depth
frame.HandDepthFrame, .Hand     what that gives: depth and sigma in metres, the hands
settings.EstimatorSettings      what the estimator may be told
errors.HandDepthError           base of every error that is raised on purpose; most are a ValueError too

Images are numpy arrays (H, W, ...), RGB; lengths are metres; pixel centres lie at integers; a camera's frame is the optical
one of REP 103 (x right, y down, z forward). Importing this module imports nothing else.
"""

__version__ = "0.1.0"
