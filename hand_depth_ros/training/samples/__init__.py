"""Training samples: crops for the depth network, whole frames for the detector."""
