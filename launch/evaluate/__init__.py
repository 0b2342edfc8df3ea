"""``lopt evaluate``: learned optimizers judged against tuned ones on tasks they have never seen."""
