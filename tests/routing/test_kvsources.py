"""Where events come from: vLLM's own answers as recorded, templates, and what cannot be meant."""

from pathlib import Path

import pytest

from grove_dp.routing.kvsources import (
    InvalidSources,
    KvSource,
    left_out,
    read_sources,
    rewritten,
    template_sources,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vllm_http"
TOPIC = "kv@127.0.0.1:8106@tiny-llama"


def body_of(name: str) -> bytes:
    return (FIXTURES / name).read_bytes().partition(b"\r\n\r\n")[2]


def test_vllm_says_where_each_rank_publishes():
    assert read_sources(body_of("dp2/dp2_kv_event_sources.response.http"), "10.0.0.9") == (
        KvSource(0, "tcp://10.0.0.9:5651", "tcp://10.0.0.9:5661", TOPIC),
        KvSource(1, "tcp://10.0.0.9:5652", "tcp://10.0.0.9:5662", TOPIC),
    )


def test_unknown_fields_do_no_harm_and_missing_ones_have_vllms_defaults():
    body = b'{"1":{"endpoint":"tcp://*:2","new":[1]},"0":{"endpoint":"tcp://*:1","replay_endpoint":null}}'
    assert read_sources(body, "h") == (KvSource(0, "tcp://h:1"), KvSource(1, "tcp://h:2"))


@pytest.mark.parametrize("off", [b'"enable_kv_cache_events":false', b'"publisher":"null"'])
def test_a_worker_without_events_has_no_sources(off):
    assert read_sources(b'{"0":{"endpoint":"tcp://*:5557",%s}}' % off, "h") == ()
    assert read_sources(b"{}", "h") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"a":{"endpoint":"tcp://*:1"}}',
        b'{"0":{}}',
        b'{"0":{"endpoint":"tcp://*:0"}}',
        b'{"0":{"endpoint":"inproc://x"}}',
        b'{"0":{"endpoint":"tcp://*:70000"}}',
        b'{"0":{"endpoint":"tcp://*:1","replay_endpoint":"nonsense"}}',
    ],
)
def test_an_answer_that_names_no_endpoint_is_refused(body):
    with pytest.raises(InvalidSources):
        read_sources(body, "h")


@pytest.mark.parametrize(
    ("endpoint", "address", "reached"),
    [
        ("tcp://*:5557", "10.0.0.9", "tcp://10.0.0.9:5557"),
        ("tcp://0.0.0.0:5557", "10.0.0.9", "tcp://10.0.0.9:5557"),
        ("tcp://[::]:5557", "10.0.0.9", "tcp://10.0.0.9:5557"),
        ("tcp://:::5557", "10.0.0.9", "tcp://10.0.0.9:5557"),
        ("tcp://worker-0:5557", "fd00::9", "tcp://[fd00::9]:5557"),
        ("tcp://localhost:5557", "127.0.0.1", "tcp://127.0.0.1:5557"),
        ("tcp://10.1.1.1:5557", "10.0.0.9", "tcp://10.1.1.1:5557"),
        ("tcp://[fd00::1]:5557", "10.0.0.9", "tcp://[fd00::1]:5557"),
        ("ipc:///tmp/kv", "10.0.0.9", "ipc:///tmp/kv"),
    ],
)
def test_a_host_that_only_the_worker_knows_becomes_its_address(endpoint, address, reached):
    assert rewritten(endpoint, address) == reached


def test_a_template_counts_ports_by_rank():
    assert template_sources("tcp://*:5557", "tcp://*:6557", 2, "10.0.0.9", "kv") == (
        KvSource(0, "tcp://10.0.0.9:5557", "tcp://10.0.0.9:6557", "kv"),
        KvSource(1, "tcp://10.0.0.9:5558", "tcp://10.0.0.9:6558", "kv"),
    )
    assert template_sources("tcp://*:5557", "", 1, "h") == (KvSource(0, "tcp://h:5557"),)
    with pytest.raises(InvalidSources, match=r"tcp://\*:65536"):
        template_sources("tcp://*:65535", "", 2, "h")


@pytest.mark.parametrize(
    ("release", "missing"),
    [
        ("0.9.2", {"lora", "cache_salt"}),
        ("0.13.0rc1", {"lora", "cache_salt"}),
        ("0.14.0", {"cache_salt"}),
        ("0.17.1", {"cache_salt"}),
        ("0.18.0", set()),
        ("1.0", set()),
        ("0.1.dev1+g0e6b6cf", set()),
        ("", set()),
    ],
)
def test_older_releases_leave_out_what_blocks_differ_in(release, missing):
    assert left_out(release) == missing
