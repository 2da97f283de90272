"""Where scenarios play."""

import pytest

from tests.operator.scenarios.clusters import serve


@pytest.fixture
def stage(request):
    """None: the API server of this process; else the real control plane, its kubelet, and a namespace."""
    if request.param == "embedded":
        return None
    serve(request.getfixturevalue("controlplane"))
    return tuple(request.getfixturevalue(one) for one in ("controlplane", "kubelet", "kube_namespace"))
