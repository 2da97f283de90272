"""Inputs near valid ones: what parsers disagree about lies one byte away from what they agree about."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

SPICE = [bytes([c]) for c in b'\r\n \t"\\{}[]:,;+-.0159aAeEfnu#@*/%\x00\x1f\x7f\x80\xff'] + [
    *(b"\r\n", b"\n\n", b"\r\n\r\n", b"null", b"true", b"{}", b"[]", b'""', b'\\"', b"\\\\", b"\\u0041"),
]


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], most: int = 4) -> bytes:
    """One of *seeds* with up to *most* bytes or short words inserted, deleted, replaced or repeated."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.integers(0, 4))
        if how == 0:
            data = data[:at] + draw(st.sampled_from(SPICE)) + data[at:]
        elif how == 1:
            data = data[:at] + data[at + draw(st.integers(1, 5)) :]
        elif how == 2:
            data = data[:at] + draw(st.sampled_from(SPICE)) + data[at + 1 :]
        elif how == 3:
            end = at + draw(st.integers(1, 40))
            data = data[:end] + data[at:end] + data[end:]
        else:
            data = data[:at] + draw(st.binary(max_size=3)) + data[at:]
    return data


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """*data* cut at a few places; no piece is empty."""
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=6)) | {0, len(data)})
    return [data[a:b] for a, b in pairwise(cuts) if b > a]
