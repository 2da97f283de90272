"""Names, labels and durations as Kubernetes accepts them: what is wrong with one, in a word, or None."""

import re
from typing import Final

from grove_operator.plan.times import duration_s

__all__ = ["bad_key", "bad_label", "bad_label_value", "bad_variable", "duration_s"]

LABEL_MAX: Final = 63
SUBDOMAIN_MAX: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_VARIABLE: Final = re.compile(r"[ -<>-~]+")  # as servers from 1.30 on take it
_WORD: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def bad_label(text: str) -> str | None:
    """A name that becomes part of host names: a DNS label."""
    if len(text) > LABEL_MAX:
        return f"must be no more than {LABEL_MAX} characters"
    if not _LABEL.fullmatch(text):
        return (
            "must be lower-case letters, digits and '-', and begin and end with a letter or digit:"
            " it becomes part of host names, where neither dots nor capitals can stand"
        )
    return None


def bad_key(text: str) -> str | None:
    """The key of a label or annotation: a name, and before it perhaps a domain and '/'."""
    domain, slash, name = text.rpartition("/")
    if slash and (len(domain) > SUBDOMAIN_MAX or not _SUBDOMAIN.fullmatch(domain)):
        return "what stands before '/' must be a DNS name in lower case"
    if len(name) > LABEL_MAX or not _WORD.fullmatch(name):
        return (
            f"the name must be 1 to {LABEL_MAX} letters, digits, '-', '_' or '.',"
            " and begin and end with a letter or digit"
        )
    return None


def bad_label_value(text: str) -> str | None:
    """May be empty."""
    if text and (len(text) > LABEL_MAX or not _WORD.fullmatch(text)):
        return (
            f"must be at most {LABEL_MAX} letters, digits, '-', '_' or '.',"
            " and begin and end with a letter or digit"
        )
    return None


def bad_variable(text: str) -> str | None:
    """The name of an environment variable."""
    if not _VARIABLE.fullmatch(text):
        return "must be printable ASCII characters other than '='"
    return None
