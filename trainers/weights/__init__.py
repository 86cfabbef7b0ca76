"""Reading, transferring and checking pretrained weights."""
