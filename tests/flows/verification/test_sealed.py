import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.verification.sealed import digest, read_sealed, write_sealed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=5,
)


@settings(max_examples=25)
@given(content=st.dictionaries(st.text(), JSON))
def test_reads_what_was_written(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    write_sealed(path, content)
    assert read_sealed(path) == content


@settings(max_examples=25)
@given(first=st.dictionaries(st.text(), JSON), second=st.dictionaries(st.text(), JSON))
def test_digest_tells_contents_apart_and_ignores_the_order_of_keys(first, second):
    reordered = dict(reversed(list(first.items())))
    assert digest(first) == digest(reordered)
    if first != second:
        assert digest(first) != digest(second)


def test_missing_file_counts_for_nothing(tmp_path):
    assert read_sealed(tmp_path / "none.json") is None
    assert read_sealed(tmp_path / "no folder" / "none.json") is None


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "sealed.json"
    write_sealed(path, {"energy_per_atom": -3.25, "reason": "Å"})
    return path


def test_every_truncation_counts_for_nothing(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_sealed(path) is None, length


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"-3.25", b"-3.26"), (b"-3.25", b"NaN"), (b"content", b"contend"), (b'"sha256"', b'"sha255"')],
)
def test_altered_file_counts_for_nothing(path, old, new):
    altered = path.read_bytes().replace(old, new)
    assert altered != path.read_bytes()
    path.write_bytes(altered)
    assert read_sealed(path) is None


@pytest.mark.parametrize("text", [b"", b"\x00" * 512, b"[]", b"3", b'{"content": 3}', b"\xff\xfe"])
def test_other_files_count_for_nothing(path, text):
    path.write_bytes(text)
    assert read_sealed(path) is None


def test_number_that_is_not_finite_is_refused_and_the_old_file_stays(path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_sealed(path, {"energy_per_atom": float("nan")})
    assert read_sealed(path) == {"energy_per_atom": -3.25, "reason": "Å"}
    assert [p.name for p in path.parent.iterdir()] == ["sealed.json"]


def test_interrupted_write_leaves_the_old_file_and_no_litter(path, monkeypatch):
    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_sealed(path, {"energy_per_atom": 1.0})
    assert read_sealed(path) == {"energy_per_atom": -3.25, "reason": "Å"}
    assert [p.name for p in path.parent.iterdir()] == ["sealed.json"]
