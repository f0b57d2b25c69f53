"""Renders HandRGBD-style data sets: people by anny, light by Cycles, depth by ray casting (extra: synth).

Only `hand-depth synth` and the tests import this package. The way through it, one module a step:

    body      a person (shape, hand length) and the posed mesh         anny, numpy
    poses     hand and arm poses that a person can do                  numpy
    real_poses  poses and views that people were seen in (poses.npz)     numpy
    mesh      smooth surfaces, clothes and hair from the posed mesh    numpy
    views     what view k shows: person, pose, camera, light           numpy
    cast      exact depth and labels through pixel centres             warp
    render    the photograph                                           bpy
    dataset   files that are complete or absent                        numpy, OpenCV
    cli       the command

`fit_poses` (torch) made poses.npz from hand landmarks: 3,618 hands that MediaPipe Hands (Apache-2.0) found on the
photographs of SubhiH/HandsDataset and ardamavi/Sign-Language-Digits-Dataset (both Apache-2.0).
"""
