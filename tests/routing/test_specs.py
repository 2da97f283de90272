import pytest

from grove_dp.routing.specs import InvalidWorker, worker_spec


@pytest.mark.parametrize(
    ("url", "worker_id"),
    [
        ("http://10.0.0.7:8001", "10.0.0.7:8001"),
        ("http://gpu-3", "gpu-3:8000"),
        ("http://gpu-3:80/", "gpu-3:80"),
        ("HTTP://GPU-3.Pool.svc:80", "gpu-3.pool.svc:80"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://[2001:DB8:0:0::1]", "[2001:db8::1]:8000"),
    ],
)
def test_the_id_is_host_and_port(url, worker_id):
    spec = worker_spec(url, "config")
    assert spec.id == worker_id
    assert spec.authority == worker_id
    assert spec.url == f"http://{worker_id}"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://a", "only http://"),
        ("a:8000", "only http://"),
        ("", "only http://"),
        ("http://me@a", "a user"),
        ("http://me:secret@a:1", "a user"),
        ("http://a/v1", "a path (/v1)"),
        ("http://a?x=1", "a query"),
        ("http://a#x", "a query"),
        ("http://", "neither a host name"),
        ("http://a b", "neither a host name"),
        ("http://-a", "neither a host name"),
        ("http://[10.0.0.1]", "neither a host name"),
        ("http://[fe80::1%eth0]", "neither a host name"),
        ("http://a:0", "port '0'"),
        ("http://a:65536", "port '65536'"),
        ("http://a:", "port ''"),
        ("http://a:8k", "port '8k'"),
        ("http://a\r\nx:1", "neither a host name"),
        ("http://" + "a." * 50 + "b", "longer than 95 bytes"),
    ],
)
def test_what_is_no_worker_url_is_refused_with_its_name_and_the_remedy(url, why):
    with pytest.raises(InvalidWorker) as caught:
        worker_spec(url, "config")
    assert repr(url) in str(caught.value)
    assert why in str(caught.value)


def test_an_address_needs_no_resolving_and_a_name_does():
    assert worker_spec("http://10.0.0.7", "config").literal == "10.0.0.7"
    assert worker_spec("http://[::1]", "config").literal == "::1"
    assert worker_spec("http://localhost", "config").literal is None


@pytest.mark.parametrize("worker_id", ["", "a b", "a/b", "\u00e4", "a" * 96])
def test_an_id_that_a_path_or_a_header_cannot_hold_is_refused(worker_id):
    with pytest.raises(InvalidWorker):
        worker_spec("http://a", "file", id=worker_id)


def test_a_cap_below_zero_is_refused():
    with pytest.raises(InvalidWorker, match="max_inflight"):
        worker_spec("http://a", "file", max_inflight=-1)
