"""Tests of grove_dp/errors.py."""

import re

import pytest

from grove_dp import errors
from grove_dp.errors import ConfigurationError, GroveError


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_a_camel_case_reason_and_a_status(name):
    kind = getattr(errors, name)
    assert issubclass(kind, GroveError)
    assert re.fullmatch(r"([A-Z][a-z0-9]+)+", kind.reason)
    assert 400 <= kind.status < 600


def test_configuration_errors_keep_every_message():
    assert ConfigurationError(["a", "b"]).messages == ("a", "b")
    assert str(ConfigurationError("a")) == "a"
