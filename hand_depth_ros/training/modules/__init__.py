"""Lightning modules of the two networks, their losses, and readers of weights to start from."""
