"""How accurate the depth is, on data sets whose truth is known: readers, metrics, report.

Calls HandDepthEstimator as any user would. Nothing outside of the command line imports it.
"""
