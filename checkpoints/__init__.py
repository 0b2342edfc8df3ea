"""The state of a run on disk: reserved, a run cannot be resumed yet."""
