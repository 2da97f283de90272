"""The documents, byte for byte."""

import pytest

from grove_dp.errors import ClientFault, GroveError
from grove_dp.metering.external import documents
from grove_dp.metering.external.selector import BadSelector

GROUP = (
    b'"name":"external.metrics.k8s.io",'
    b'"versions":[{"groupVersion":"external.metrics.k8s.io/v1beta1","version":"v1beta1"}],'
    b'"preferredVersion":{"groupVersion":"external.metrics.k8s.io/v1beta1","version":"v1beta1"}}'
)


def test_the_group_document():
    assert documents.group_document() == b'{"kind":"APIGroup","apiVersion":"v1",' + GROUP


def test_the_list_of_groups():
    assert documents.group_list() == b'{"kind":"APIGroupList","apiVersion":"v1","groups":[{' + GROUP + b"]}"


def test_the_version_document_lists_metrics_by_name():
    assert documents.resource_list(["grove_dp_b", "grove_dp_a"]) == (
        b'{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"external.metrics.k8s.io/v1beta1",'
        b'"resources":['
        b'{"name":"grove_dp_a","singularName":"","namespaced":true,"kind":"ExternalMetricValueList","verbs":["get"]},'
        b'{"name":"grove_dp_b","singularName":"","namespaced":true,"kind":"ExternalMetricValueList","verbs":["get"]}'
        b"]}"
    )


def test_a_version_document_without_metrics_has_an_empty_list():
    assert documents.resource_list([]).endswith(b'"resources":[]}')


def test_a_value_list():
    items = [
        documents.item(documents.item_head("grove_dp_a", {"k": "v", "a": "b"}), 1.5, 1_767_323_045.7, 60),
        documents.item(documents.item_head("grove_dp_a", {}), 0, 1_767_323_045),
    ]
    assert documents.value_list(items) == (
        b'{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":['
        b'{"metricName":"grove_dp_a","metricLabels":{"a":"b","k":"v"},"timestamp":"2026-01-02T03:04:05Z",'
        b'"window":60,"value":"1500m"},'
        b'{"metricName":"grove_dp_a","metricLabels":{},"timestamp":"2026-01-02T03:04:05Z","value":"0"}]}'
    )


def test_a_status_names_its_reason_and_code():
    assert documents.status_document(documents.NotFound('no "x"')) == (
        b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no \\"x\\"",'
        b'"reason":"NotFound","code":404}'
    )


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BadSelector, 400, "BadRequest"),
        (ClientFault, 400, "BadRequest"),
        (documents.Unauthorized, 401, "Unauthorized"),
        (documents.Forbidden, 403, "Forbidden"),
        (documents.NotFound, 404, "NotFound"),
        (documents.MethodNotAllowed, 405, "MethodNotAllowed"),
        (documents.Overloaded, 429, "TooManyRequests"),
        (GroveError, 500, "InternalError"),
        (documents.Unavailable, 503, "ServiceUnavailable"),
    ],
)
def test_reasons_are_those_of_kubernetes(error, code, reason):
    assert (error.status, error.reason) == (code, reason)
