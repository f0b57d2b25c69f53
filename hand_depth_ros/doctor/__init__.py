"""`hand-depth doctor`: report what keeps a running node or its consumers from working."""
