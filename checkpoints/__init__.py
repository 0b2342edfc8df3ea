"""The state of a run on disk: saved in the background, checked whole, restored exactly.

A step is a folder ``checkpoints/<step>`` that Orbax has written, on a disk or in a bucket, with a
manifest beside the data: metadata, a checksum of every array and one of every file. The manifest is
written when all else is there and lasts, so a step is either complete or none; what happens to its
files later is found out by the checksums.
"""

from checkpoints.arrays import MismatchError
from checkpoints.manifest import DamagedError
from checkpoints.saver import Saver
from checkpoints.store import Step, Store

__all__ = ["DamagedError", "MismatchError", "Saver", "Step", "Store"]
