"""Decides what the values in masks mean, and which masks do not fit."""
