"""Augmentation of images, boxes and landmarks."""
