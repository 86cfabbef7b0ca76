"""Events: what the rules of a camera make of its tracks, faces and states."""
