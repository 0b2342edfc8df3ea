"""The idx parser gives back what was written, and notices whatever is not whole."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks import RawDataError
from tasks.datasets.idx import parse_idx, read_idx

ARRAYS = hnp.arrays(
    np.uint8, st.one_of(hnp.array_shapes(min_dims=n, max_dims=n, max_side=5) for n in (1, 3))
)


@given(array=ARRAYS)
@settings(deadline=None)
def test_round_trip(array, raw):
    parsed = parse_idx(raw.idx_bytes(array), array.ndim)
    np.testing.assert_array_equal(parsed, array)
    assert parsed.dtype == np.uint8


@given(array=ARRAYS, data=st.data())
@settings(deadline=None)
def test_truncation_is_always_detected(array, data, raw):
    whole = raw.idx_bytes(array)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RawDataError, match=r"truncated|starts with"):
        parse_idx(whole[:length], array.ndim, "some-file")


@given(array=ARRAYS, extra=st.binary(min_size=1, max_size=9))
@settings(deadline=None)
def test_bytes_after_the_end_are_detected(array, extra, raw):
    with pytest.raises(RawDataError, match="after its end"):
        parse_idx(raw.idx_bytes(array) + extra, array.ndim)


@given(magic=st.binary(min_size=4, max_size=4).filter(lambda m: m != b"\0\0\x08\x01"))
@settings(deadline=None)
def test_wrong_magic_is_detected(magic):
    with pytest.raises(RawDataError, match="some-file starts with"):
        parse_idx(magic + b"\0\0\0\1\0", 1, "some-file")


def test_reads_plain_and_gzip_by_content(tmp_path, raw):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for name, data in (("a.gz", raw.idx_bytes(array)), ("b", gzip.compress(raw.idx_bytes(array)))):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_idx(tmp_path / name, 3), array)


def test_truncated_gzip_names_the_file(tmp_path, raw):
    data = gzip.compress(raw.idx_bytes(np.zeros((2, 28, 28), np.uint8)))
    for length in (3, len(data) // 2, len(data) - 1):
        (tmp_path / "broken.gz").write_bytes(data[:length])
        with pytest.raises(RawDataError, match=r"broken\.gz"):
            read_idx(tmp_path / "broken.gz", 3)
