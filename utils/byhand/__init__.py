"""What the lessons derive, in NumPy."""
