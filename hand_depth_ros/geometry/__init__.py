"""Cameras, crop cameras, boxes and the 21 joints of a hand.

numpy and torch; imports nothing else of ours but errors.
"""
