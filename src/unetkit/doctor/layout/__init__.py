"""Finds images and masks in a folder or zip, and which belong together."""
