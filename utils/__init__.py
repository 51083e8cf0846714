"""Helpers of the course; every module is one idea, and nothing happens on import."""
