"""Homework: the assignments and what grades them."""
