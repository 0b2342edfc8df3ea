"""``lopt reproduce``: experiments of the PES paper, by name and with their figure."""
