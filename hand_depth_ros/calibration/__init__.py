"""Measure one person's hand length: from a known distance, a ruler, or a registered depth camera.

A single image cannot tell a small near hand from a large far one; a known hand length can.
"""
