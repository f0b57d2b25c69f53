"""Data sets, losses and the training loops (extra: train). Never imported by the node or the estimator."""
