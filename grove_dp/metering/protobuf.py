"""prometheus-client's families as protobuf: io.prometheus.client's MetricFamily, each behind its length.

A Prometheus server that stores native histograms asks for this form of the whole page, but prometheus-client
writes text alone. So the families that the core does not render (csrc/meter/message.c writes its own) are
written here, plain: counters, gauges, infos and classic histograms.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

__all__ = ["delimited"]

# Numbers of fields, from metrics.proto.
NAME, HELP, TYPE, METRIC = 1, 2, 3, 4
LABEL, GAUGE, COUNTER, UNTYPED, HISTOGRAM = 1, 2, 3, 5, 7
KINDS: Final[Mapping[str, int]] = {"counter": 0, "gauge": 1, "info": 1, "stateset": 1, "histogram": 4}
VALUES: Final = {0: COUNTER, 1: GAUGE, 3: UNTYPED}
UNKNOWN: Final = 3
BOUND: Final = "le"


def delimited(families: Iterable[Metric]) -> bytes:
    """All of *families*, one after the other."""
    written = []
    for family in families:
        kind = KINDS.get(family.type, UNKNOWN)
        for name, metrics in _named(family, kind):
            head = _text(NAME, name) + _text(HELP, family.documentation) + _number(TYPE, kind)
            body = head + b"".join(_bytes(METRIC, metric) for metric in metrics)
            written.append(_varint(len(body)) + body)
    return b"".join(written)


def _named(family: Metric, kind: int) -> Iterator[tuple[str, list[bytes]]]:
    """Name and metrics: of a histogram the family's, of others the samples' (`_total`, `_info`)."""
    if kind == KINDS["histogram"]:
        yield family.name, [_labels(key) + _histogram(samples) for key, samples in _series(family.samples)]
        return
    told = [sample for sample in family.samples if not sample.name.endswith("_created")]
    for name, samples in groupby(told, key=lambda sample: sample.name):
        yield (
            name,
            [
                _labels(sample.labels.items()) + _bytes(VALUES[kind], _double(1, sample.value))
                for sample in samples
            ],
        )


def _series(samples: Iterable[Sample]) -> Iterator[tuple[tuple[tuple[str, str], ...], list[Sample]]]:
    def key(sample: Sample) -> tuple[tuple[str, str], ...]:
        return tuple((name, value) for name, value in sample.labels.items() if name != BOUND)

    for labels, found in groupby(samples, key):
        yield labels, list(found)


def _histogram(samples: Iterable[Sample]) -> bytes:
    count, total, buckets = 0, 0.0, []
    for sample in samples:
        if sample.name.endswith("_bucket"):
            count = round(sample.value)  # the last is that of all
            bound = float(sample.labels[BOUND])
            buckets.append(_bytes(3, _number(1, count) + _double(2, bound)))
        elif sample.name.endswith("_sum"):
            total = sample.value
    return _bytes(HISTOGRAM, _number(1, count) + _double(2, total) + b"".join(buckets))


def _labels(labels: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(_bytes(LABEL, _text(1, name) + _text(2, value)) for name, value in labels)


# ---------------------------------------------------------------- fields


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
