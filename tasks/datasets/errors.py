"""What can go wrong with data, in types that a caller can tell apart."""


class MissingData(FileNotFoundError):
    """A data set is not on this machine; the message says what to run."""


class RawDataError(ValueError):
    """A raw file is missing, damaged or of the wrong kind; the message names the file."""
