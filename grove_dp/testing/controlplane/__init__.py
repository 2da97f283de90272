"""A real Kubernetes control plane for tests, on this machine, in four seconds.

    with ControlPlane(scheduler=True) as plane, FakeKubelet(plane.api):
        plane.add_nodes(2, gpus=4)
        plane.api.create("/api/v1/namespaces/default/pods", pod)

`plane`         the context manager: processes, users, nodes, aggregated APIs
`binaries`      where the programs are, and their one build
`flags`         their command lines
`processes`     a program that never outlives its owner
`ready`         whether it is ready, and ours
`folder`        a folder that is swept away after its owner's death
`certificates`  authorities and what they sign
`tokens`        service-account tokens of any age
`api`           a small client, kubeconfigs
`audit`         who wrote what, as the API server saw it
`nodes`         fake nodes
`progress`      a build's progress, on a terminal and elsewhere

By hand: `python -m grove_dp.testing.controlplane --help`.
"""

from grove_dp.testing.controlplane.api import Access, Api, ApiRefused, Document, Reply
from grove_dp.testing.controlplane.binaries import BuildFailed, NoControlPlane, Programs, programs
from grove_dp.testing.controlplane.certificates import Authority, Credential
from grove_dp.testing.controlplane.plane import ControlPlane

__all__ = [
    "Access",
    "Api",
    "ApiRefused",
    "Authority",
    "BuildFailed",
    "ControlPlane",
    "Credential",
    "Document",
    "NoControlPlane",
    "Programs",
    "Reply",
    "programs",
]
