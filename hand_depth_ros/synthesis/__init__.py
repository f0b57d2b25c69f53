"""Render data sets in the form of HandRGBD (extra: synth).

People are anny's, light is path-traced by Cycles, depth is ray-cast.

Only `hand-depth synth`, the reader of rendered sets (`units`) and the tests import this package.
Modules in the order in which a view is made; each folder may import what stands above it:

    units        how rendered metres become written metres
    rotations    rotation matrices from rotation vectors                    numpy
    surface      labelled triangle surfaces: what is seen and measured      numpy
    appearance   skin, clothes, hair, rings and light as plain data
    people/
      body         a person's shape and hand length; the posed mesh         anny, numpy
      poses        hand and arm poses within the limits of joints           numpy
      real_poses   poses and views seen on photographs (poses.npz)          numpy
      subdivision  smooth surfaces                                          numpy
      accessories  rings and watches                                        numpy
      dress        the posed, dressed person as a surface                   numpy
      people       random persons, looks and lights                         numpy
      arms         random arms, and views of hands                          numpy
      fit_poses    makes poses.npz from hand landmarks                      torch
    render/
      raycast      exact depth and labels through pixel centres             warp
      blender      bpy, loaded quietly, and what it carries                 bpy
      fabric       patches of fabric from clothes' textures                 OpenCV
      materials    skin, cloth, objects, desks                              bpy
      renderer     the photograph                                           bpy
      tonemap      linear light to 8 bits                                   numpy
    scene/
      things       balls, cylinders, boxes                                  numpy
      objects      textured meshes                                          numpy, scipy
      grasp        hands that hold, pinch or press a thing                  numpy
      object_grasp grasps of given objects, also larger than the hand       numpy
      two_hands    two hands that touch; arms that reach for a point        numpy, scipy
      held         what hands hold in a scene                               numpy
      desk         a desk and what stands on it                             numpy
      views        what a view is                                           numpy
      crops, frames, ego, holding, clip    the kinds of views               numpy
    dataset      files that are complete or absent                          numpy, OpenCV
    sheet        a contact sheet of a set                                   numpy, OpenCV
    cli          `hand-depth synth`

poses.npz was fitted to 3,618 hands that MediaPipe Hands (Apache-2.0) found on the photographs of
SubhiH/HandsDataset and ardamavi/Sign-Language-Digits-Dataset (both Apache-2.0).
"""
