"""Config files, one per experiment: ``get_config()`` returns an ``ml_collections.ConfigDict``."""
