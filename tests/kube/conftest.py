"""What tests of this folder may ask for."""

import pytest

from tests.kube.clusters import fake_cluster, real_cluster


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.controlplane)])
async def cluster(request, tmp_path):
    """Each test twice: on the embedded API server over HTTP, and on the real one."""
    if request.param == "fake":
        async with fake_cluster(tmp_path) as made:
            yield made
    else:
        plane, namespace = (request.getfixturevalue(name) for name in ("controlplane", "kube_namespace"))
        yield real_cluster(plane, namespace, tmp_path)
