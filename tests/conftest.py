"""Strictness shared by all tests."""

import gc
import os

from tests.xla_flags import quick_to_compile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = quick_to_compile()  # child processes inherit them

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(("lopt", "meta_train", "tasks"), "beartype.beartype")

# Traced programs are millions of objects, of which few are garbage: looking through them as often
# as Python does by default takes a twelfth of the time.
gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def bucket():
    """An address in a bucket of this session's own, and the folder where its objects are files."""
    from tests import bucket_server

    with bucket_server.serve() as files:
        yield bucket_server.BUCKET, files
