"""Classification: attributes of tracked objects, and the states of fixed places."""
