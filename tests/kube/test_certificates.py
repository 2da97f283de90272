"""Certificates of our own: what they are good for, and until when."""

import pytest
from cryptography import x509

from grove_dp.kube.certificates import BUNDLE_MAX, Authority, expires, fits, serving, still_valid
from grove_dp.kube.tls import BadCertificate, Certificate, Face

WALL_S = 1_800_000_000.0
DAY_S = 86_400
NAMES = ("metrics.grove-dp.svc", "metrics.grove-dp.svc.cluster.local")


@pytest.fixture(scope="module")
def made():
    return serving(NAMES, WALL_S)


def test_a_serving_certificate_lasts_ninety_days_and_is_renewed_after_sixty(made):
    certificate, _ = made
    assert expires(certificate) == WALL_S + 90 * DAY_S
    assert fits(certificate, NAMES, WALL_S)
    assert fits(certificate, NAMES, WALL_S - 3600)  # clocks of nodes differ
    assert fits(certificate, NAMES, WALL_S + 60 * DAY_S - 1)
    assert not fits(certificate, NAMES, WALL_S + 60 * DAY_S)
    assert not fits(certificate, NAMES, WALL_S - 3601)


def test_it_stands_for_its_names_alone(made):
    assert not fits(made[0], ("other.grove-dp.svc",), WALL_S)


@pytest.mark.parametrize("chain", ["", "x", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_does_not_fit(chain):
    assert not fits(Certificate(chain, ""), NAMES, WALL_S)


def test_a_certificate_without_names_does_not_fit():
    assert not fits(Authority("a", WALL_S).client("x"), NAMES, WALL_S)


def test_its_authority_signs_nothing_further(made):
    leaf = x509.load_pem_x509_certificate(made[0].chain_pem.encode())
    authority = x509.load_pem_x509_certificate(made[1].encode())
    leaf.verify_directly_issued_by(authority)
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_bundle_keeps_what_is_still_valid_once():
    first, second = (Authority(name, WALL_S + days * DAY_S).pem for name, days in (("a", 0), ("b", 80)))
    together = still_valid([second, first + second, "garbage"], WALL_S + 80 * DAY_S)
    assert together == second + first
    assert still_valid([together], WALL_S + 91 * DAY_S) == second


def test_a_bundle_is_bounded_and_keeps_what_is_named_first():
    pems = [Authority(f"a{number}", WALL_S).pem for number in range(20)]
    together = still_valid(pems, WALL_S)
    assert together == "".join(pems[:BUNDLE_MAX])


def test_a_key_is_not_shown(made):
    assert "PRIVATE" not in repr(made[0])


def test_a_face_refuses_what_does_not_fit_together_and_keeps_what_it_has(made):
    face = Face()
    assert not face.ready
    other = Authority("other", WALL_S).server(NAMES)
    face.renew(made[0], made[1])
    for certificate, ca, why in (
        (Certificate(made[0].chain_pem, other.key_pem), "", "do not fit together"),
        (Certificate("nothing", other.key_pem), "", "do not fit together"),
        (made[0], "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "request-header CA"),
    ):
        with pytest.raises(BadCertificate, match=why):
            face.renew(certificate, ca)
    assert (face.ready, face.renewed) == (True, 1)
