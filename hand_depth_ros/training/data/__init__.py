"""Readers of rendered sets and of labelled photographs."""
