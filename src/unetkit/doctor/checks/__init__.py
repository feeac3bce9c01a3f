"""Checks of all images and masks together."""
