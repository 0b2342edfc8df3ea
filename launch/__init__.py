"""The ``lopt`` command; nothing else imports this package."""
