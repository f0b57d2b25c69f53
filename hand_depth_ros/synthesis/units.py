"""Units of rendered sets: how metres of the rendered scene become metres in the files.

The rig's hands have longer palms than people's, and a wrist joint above the wrist crease. Beside
photographs, a rendered hand looks 0.93 times as long as its bones say (measured by
`tools/hand_unit.py`). Therefore the whole scene is taken to be 1 / 0.93 times larger than it was
rendered: depths and joints are scaled up, `hand_length_m` is not, and the image is the same. In the
enlarged scene the hand is as long as a ruler would find a real hand with that `hand_length_m`.
"""

RENDERED_UNIT_M = 0.0001
"""One step of a depth map, in metres of the rendered scene."""
REAL_PER_RENDERED = 1 / 0.93
"""Metres in the files for each metre of the rendered scene."""
DEPTH_UNIT_M = round(RENDERED_UNIT_M * REAL_PER_RENDERED, 10)
"""One step of a depth map, in metres of the files (0.1075 mm)."""
