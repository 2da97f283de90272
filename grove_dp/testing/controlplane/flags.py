"""The command lines of the control plane's programs: quick to start, quick to react, everything on loopback.

Not the defaults, and why. etcd without fsync and with short timers: it elects itself in 0.1 s instead of 1.
No node-lifecycle controller runs, so nobody would take the taint off a new node: TaintNodesByCondition is
left out. The scheduler's and the controller manager's clients get 1,000 calls/s (by default 50 and 20: 1,000
pods take 18 s instead of 3). Anonymous requests are refused with 401, as hardened clusters do. The HPA looks
each second, follows at once and may scale to zero. Gang scheduling is on from the version that has it in this
form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from grove_dp.testing.controlplane.audit import POLICY
from grove_dp.testing.controlplane.certificates import Credential

__all__ = ["AUDIT_LOG", "SERVICE_ADDRESS", "Place", "api_server", "controller_manager", "etcd", "scheduler"]

SERVICE_ADDRESS = "10.0.0.1"
AUDIT_LOG = "audit.log"
GANG_MINOR = 36
GATES = "HPAScaleToZero=true"
GANG_GATES = f"{GATES},GenericWorkload=true,GangScheduling=true"
CONTROLLERS = (
    "horizontal-pod-autoscaler-controller",
    "deployment-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",  # without it the roles view, edit and admin are empty
)
GANG_CONTROLLERS = ("podgroup-protection-controller",)


class Place(msgspec.Struct, frozen=True):
    """The folder, the ports and the minor version of Kubernetes that the command lines are for."""

    folder: Path
    minor: int
    etcd: int
    etcd_peer: int
    api_server: int
    scheduler: int
    controller_manager: int

    @property
    def gang(self) -> bool:
        return self.minor >= GANG_MINOR

    def file(self, name: str) -> str:
        return str(self.folder / name)


def etcd(at: Place) -> list[str]:
    """A store that forgets on power loss and elects itself at once."""
    client, peer = f"http://127.0.0.1:{at.etcd}", f"http://127.0.0.1:{at.etcd_peer}"
    return [
        f"--name={at.folder.name}",
        f"--data-dir={at.file('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={at.folder.name}={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
        "--heartbeat-interval=20",
        "--election-timeout=100",
        "--backend-batch-interval=10ms",
    ]


def api_server(
    at: Place, serving: Credential, front_proxy: Credential, clients: Path, *, audit: bool = False
) -> list[str]:
    """RBAC, client certificates, service-account tokens, the aggregator; on request a log of all writes."""
    gang = ["--runtime-config=scheduling.k8s.io/v1alpha2=true"] if at.gang else []
    return [
        f"--etcd-servers=http://127.0.0.1:{at.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={at.api_server}",
        *_serving(serving),
        f"--client-ca-file={clients}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={at.file('service-account.pub')}",
        f"--service-account-signing-key-file={at.file('service-account.key')}",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--requestheader-client-ca-file={front_proxy.authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={front_proxy.certificate}",
        f"--proxy-client-key-file={front_proxy.key}",
        "--enable-aggregator-routing=false",  # an ExternalName service must lead to loopback
        "--endpoint-reconciler-type=none",  # it would refuse 127.0.0.1
        "--disable-admission-plugins=TaintNodesByCondition",
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=0",
        "--profiling=false",
        "--allow-privileged=true",
        *(_audit(at) if audit else ()),
        *gang,
        *_gates(at),
    ]


def scheduler(at: Place, serving: Credential, kubeconfig: Path) -> list[str]:
    """Looks again each second at pods that did not fit."""
    config = at.folder / "scheduler.yaml"
    settings: dict[str, Any] = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 2000},
        "leaderElection": {"leaderElect": False},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 1,
    }
    config.write_bytes(msgspec.json.encode(settings))  # JSON is YAML
    return [f"--config={config}", *_component(at.scheduler, serving, kubeconfig), *_gates(at)]


def controller_manager(at: Place, serving: Credential, kubeconfig: Path, authority: Path) -> list[str]:
    """Deployments, service accounts, namespaces, garbage, and the HPA without its waiting times."""
    controllers: Sequence[str] = (*CONTROLLERS, *GANG_CONTROLLERS) if at.gang else CONTROLLERS
    return [
        f"--kubeconfig={kubeconfig}",
        *_component(at.controller_manager, serving, kubeconfig),
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={at.file('service-account.key')}",
        f"--root-ca-file={authority}",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        f"--controllers={','.join(controllers)}",
        "--horizontal-pod-autoscaler-sync-period=1s",
        "--horizontal-pod-autoscaler-downscale-stabilization=1s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=0s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=0s",
        *_gates(at),
    ]


def _audit(at: Place) -> list[str]:
    policy = at.folder / "audit.yaml"
    policy.write_bytes(msgspec.json.encode(POLICY))  # JSON is YAML
    return [f"--audit-policy-file={policy}", f"--audit-log-path={at.file(AUDIT_LOG)}"]


def _serving(credential: Credential) -> list[str]:
    return [f"--tls-cert-file={credential.certificate}", f"--tls-private-key-file={credential.key}"]


def _component(port: int, serving: Credential, kubeconfig: Path) -> list[str]:
    return [
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        *_serving(serving),
    ]


def _gates(at: Place) -> list[str]:
    return [f"--feature-gates={GANG_GATES if at.gang else GATES}"]
