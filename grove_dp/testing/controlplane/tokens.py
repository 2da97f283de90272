"""Service-account tokens that the API server would not issue: expired ones. Signed with its own key.

Those it issues live ten minutes at least, too long for a test to wait.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from grove_dp.testing.controlplane.api import Document

__all__ = ["signed_token"]

ISSUER = "https://kubernetes.default.svc"
COORDINATE_BYTES = 32  # of P-256


def signed_token(
    key: ec.EllipticCurvePrivateKey, account: Document, audiences: Sequence[str], expires_s: float
) -> str:
    """A token of this ServiceAccount that ends in so many seconds, or ended so many ago."""
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    until = int(time.time() + expires_s)
    began = min(until, int(time.time())) - 600
    claims = {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "aud": list(audiences) or [ISSUER],
        "iat": began,
        "nbf": began,
        "exp": until,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        },
    }
    text = b".".join(_base64(msgspec.json.encode(part)) for part in ({"alg": "ES256"}, claims))
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
    return f"{text.decode()}.{_base64(signature).decode()}"


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
