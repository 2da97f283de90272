"""Who asks: what the cluster says of its front proxy, and what a request says of its user."""

import pytest
from multidict import CIMultiDict

from grove_dp.metering.external.identity import (
    FrontProxy,
    TrustUnknown,
    User,
    bearer,
    common_name,
    front_proxy,
    proxied,
)

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
# As kube-apiserver 1.36 writes the ConfigMap.
DATA = {
    "client-ca-file": "-----BEGIN CERTIFICATE-----\nother\n-----END CERTIFICATE-----\n",
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-client-ca-file": PEM,
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-username-headers": '["X-Remote-User"]',
}
PROXY = front_proxy(DATA)


def test_the_config_map_is_understood():
    assert (
        FrontProxy(
            ca_pem=PEM,
            allowed_names=("front-proxy-client",),
            user_headers=("X-Remote-User",),
            uid_headers=("X-Remote-Uid",),
            group_headers=("X-Remote-Group",),
            extra_prefixes=("X-Remote-Extra-",),
        )
        == PROXY
    )


def test_an_older_one_without_uid_headers_has_the_default():
    older = {key: value for key, value in DATA.items() if "uid" not in key}
    assert front_proxy(older) == PROXY


def test_only_allowed_names_may_speak_for_others():
    assert PROXY.allows("front-proxy-client")
    assert not PROXY.allows("kubelet")


def test_no_allowed_names_means_any_that_the_ca_signed():
    anyone = front_proxy({**DATA, "requestheader-allowed-names": "[]"})
    assert anyone.allows("whoever")


def test_but_not_where_that_ca_signs_clients_too():
    # Else every client certificate of the cluster could claim to be anybody.
    shared = front_proxy({**DATA, "requestheader-allowed-names": "[]", "client-ca-file": PEM})
    assert not shared.allows("front-proxy-client")
    named = front_proxy({**DATA, "client-ca-file": PEM})
    assert named.allows("front-proxy-client")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"requestheader-client-ca-file": ""}, "--requestheader-client-ca-file"),
        ({"requestheader-allowed-names": "front"}, "requestheader-allowed-names is no JSON list"),
        ({"requestheader-group-headers": "[1]"}, "requestheader-group-headers is no JSON list"),
    ],
)
def test_what_it_does_not_say_is_an_error(change, why):
    with pytest.raises(TrustUnknown, match=why):
        front_proxy({**DATA, **change})


def test_a_request_says_its_user_in_headers():
    headers = CIMultiDict(
        [
            ("x-remote-user", "ada"),
            ("X-REMOTE-GROUP", "one"),
            ("X-Remote-Group", "two"),
            ("X-Remote-Uid", "u-1"),
            ("X-Remote-Extra-Authentication.kubernetes.io%2Fpod-name", "p"),
            ("x-remote-extra-scopes", "a"),
            ("X-Remote-Extra-Scopes", "b"),
        ]
    )
    assert proxied(headers, PROXY) == User(
        name="ada",
        uid="u-1",
        groups=("one", "two"),
        extra=(("authentication.kubernetes.io/pod-name", ("p",)), ("scopes", ("a", "b"))),
    )


def test_the_first_user_header_with_a_value_counts():
    proxy = FrontProxy(ca_pem=PEM, user_headers=("X-User", "X-Remote-User"))
    assert proxied(CIMultiDict({"X-Remote-User": "b", "X-User": ""}), proxy) == User(name="b")


@pytest.mark.parametrize("headers", [{}, {"X-Remote-User": ""}, {"X-Remote-Group": "system:masters"}])
def test_without_a_user_there_is_nobody(headers):
    assert proxied(CIMultiDict(headers), PROXY) is None


@pytest.mark.parametrize("name", ["X-Remote-User", "X-Remote-Group", "X-Remote-Extra-A"])
def test_bytes_that_are_no_text_name_nobody(name):
    headers = CIMultiDict({"X-Remote-User": "ada"})
    headers[name] = b"\xff".decode("utf-8", "surrogateescape")
    assert proxied(headers, PROXY) is None


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("commonName", "a"),),)}, "a"),
        ({"subject": ((("organizationName", "o"),), (("commonName", "a"),))}, "a"),
        ({"subject": ((("organizationName", "front-proxy-client"),),)}, None),
        ({"subject": ((("commonName", "a"),), (("commonName", "b"),))}, None),
        ({"subject": ((("commonName", "a"), ("commonName", "b")),)}, None),
    ],
)
def test_a_certificate_has_one_common_name_or_none(certificate, name):
    assert common_name(certificate) == name


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("Bearer ä", None),
    ],
)
def test_a_bearer_token_is_read(header, token):
    assert bearer(CIMultiDict({} if header is None else {"Authorization": header})) == token
