"""Data sets, labels, samples and training loops (extra: train). Inference never imports it."""
