"""Labels of photographs: from hand landmarks, and refitted to what a depth network predicts."""
