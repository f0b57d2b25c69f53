"""Labels of photographs: pseudo labels from landmarks, and a skeleton fit that refines them."""
