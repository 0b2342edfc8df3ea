"""The state of a run on disk: saved in the background, checked whole, restored exactly.

A step is a folder ``checkpoints/<step>`` that Orbax has written, with a manifest beside the data:
metadata, a checksum of every array and one of every file. The folder gets its name when all of it
is there, so a step is either complete or absent; what happens to its files later is found out by
the checksums.
"""

from checkpoints.arrays import MismatchError
from checkpoints.manifest import DamagedError
from checkpoints.saver import Saver
from checkpoints.store import Step, Store

__all__ = ["DamagedError", "MismatchError", "Saver", "Step", "Store"]
