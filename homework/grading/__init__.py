"""Grade notebooks: each runs in a sandbox of its own, and what it answers is judged outside."""
