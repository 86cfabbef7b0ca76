"""Training in Keras: data, augmentation, networks, losses, metrics."""
