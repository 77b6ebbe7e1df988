"""Directions: contrast them, steer with them, fold them into weights."""
