"""Reading io.prometheus.client's messages, as far as tests want to look into them."""

import struct


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def zigzag(n):
    return (n >> 1) ^ -(n & 1)


def message(data):
    """Fields of a message: number -> its values, in order; varints as they are, doubles, bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        else:
            assert tag & 7 == 2
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def families_of(data):
    """Families by name: type, and per tuple of label values the metric's fields."""
    told, at = {}, 0
    while at < len(data):
        size, at = varint(data, at)
        family = message(data[at : at + size])
        at += size
        metrics = {}
        for metric in map(message, family.get(4, [])):
            labels = tuple(message(label).get(2, [b""])[0].decode() for label in metric.get(1, []))
            metrics[labels] = metric
        told[family[1][0].decode()] = (family[3][0], metrics, family[2][0].decode())
    return told
