"""Losses and the Lightning modules that train the networks."""
