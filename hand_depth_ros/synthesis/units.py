"""How large the world of rendered hands is taken to be: what writes such sets and what reads early ones agree on it here."""

RENDERED_UNIT_M = 0.0001
"""Of rendered depth, before it is taken for that of a larger scene."""
REAL_PER_RENDERED = 1 / 0.93
"""What is written is so much larger than what was rendered. The rig's hands have long palms, and a wrist joint above the
crease; beside photographs a hand looks 0.93 as long as its bones say (`tools/hand_unit.py`). So the scene is taken for one that
much larger, in which the hand is as long as a ruler would find a real one with `hand_length_m`. The picture is the same."""
DEPTH_UNIT_M = round(RENDERED_UNIT_M * REAL_PER_RENDERED, 10)
"""Of the depth maps in the files."""
