"""Renders HandRGBD-style data sets: people by anny, light by Cycles, depth by ray casting (extra: synth).

Only `hand-depth synth` and the tests import this package. The way through it, one module a step:

    body        a person (shape, hand length) and the posed mesh        anny, numpy
    poses       hand and arm poses that a person can do                 numpy
    real_poses  poses and views that people were seen in (poses.npz)    numpy
    things      balls, cylinders, boxes                                 numpy
    grasp       hands that hold, pinch or press a thing                 numpy
    together    two hands that touch, arms that reach for a point       numpy, scipy
    mesh        smooth surfaces and parts of meshes                     numpy
    worn        rings and watches                                       numpy
    dress       skin, clothes and hair from the posed mesh              numpy
    people      who, how dressed, in what light, at random              numpy
    arms        arms at random, and cameras around hands                numpy
    views       what a view is                                          numpy
    crops       one hand fills the picture                              numpy
    frames      an upper body with its hands                            numpy
    cast        exact depth and labels through pixel centres            warp
    render      the photograph                                          bpy
    tonemap     from light to 8 bits                                    numpy
    dataset     files that are complete or absent                       numpy, OpenCV
    sheet       a picture of a set                                      numpy, OpenCV
    cli         the command

`fit_poses` (torch) made poses.npz from hand landmarks: 3,618 hands that MediaPipe Hands (Apache-2.0) found on the
photographs of SubhiH/HandsDataset and ardamavi/Sign-Language-Digits-Dataset (both Apache-2.0).
"""
