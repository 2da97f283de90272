"""Where scenarios play."""

import pytest


@pytest.fixture
def stage(request):
    """None: the API server of this process; else the real control plane, its kubelet, and a namespace."""
    if request.param == "embedded":
        return None
    return tuple(request.getfixturevalue(one) for one in ("controlplane", "kubelet", "kube_namespace"))
