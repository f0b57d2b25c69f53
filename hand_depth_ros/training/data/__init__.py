"""Types and readers of rendered views and labelled photographs."""
