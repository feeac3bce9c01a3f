"""Finds the images and masks of a folder or zip, whatever its layout, and which belong together."""
