"""Helpers of the tests. `processes/` holds what they start; everything else is imported."""
