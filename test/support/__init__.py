"""Helpers of the tests. `processes/` holds what they start as programs; everything else is imported."""
