"""Accuracy on data sets with known depth: readers, metrics, report.

Calls HandDepthEstimator as any user would. Nothing outside of the command line imports it.
"""
