"""``lopt report``: one HTML page about a run or an evaluation, with everything inside it."""
