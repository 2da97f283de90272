"""A real Kubernetes control plane on loopback: etcd, API server, and on request scheduler and controllers.

    1 folder          fresh; those of dead owners are swept away first
    2 certificates    fresh: clients' authority, front proxy's, aggregated APIs'
    3 etcd            until it has a leader
    4 API server      until /readyz
    5 the others      together, until ready: 2.5 to 4 s in all

It ends by SIGKILL in 0.1 s, also when its owner is killed: see `processes` and `folder`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from grove_dp.testing.controlplane import audit, flags
from grove_dp.testing.controlplane.api import Access, Api, ApiRefused, Document, write_kubeconfig
from grove_dp.testing.controlplane.audit import Write
from grove_dp.testing.controlplane.binaries import Programs, programs
from grove_dp.testing.controlplane.certificates import Authority, Credential, private_key_pem, public_key_pem
from grove_dp.testing.controlplane.folder import OwnedFolder
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.controlplane.processes import Launcher, PortTaken, Process
from grove_dp.testing.controlplane.ready import HOST, etcd_ready, server_ready
from grove_dp.testing.controlplane.tokens import signed_token
from grove_dp.testing.frontend import free_port

__all__ = ["ControlPlane"]

START_S = 40.0  # a busy machine; 4 s on an idle one
PORT_TRIES = 3
NAMES = ("kubernetes", *(f"kubernetes.default{rest}" for rest in ("", ".svc", ".svc.cluster.local")))
SERVED = (HOST, "localhost")


class ControlPlane:
    """Runs between `start` and `close`, or inside a `with`. *audit*: for `writes`; *found*: its programs."""

    def __init__(
        self,
        *,
        scheduler: bool = False,
        controller_manager: bool = False,
        audit: bool = False,
        found: Programs | None = None,
    ) -> None:
        self.programs = found or programs()
        self._wanted = ["kube-scheduler"] * scheduler + ["kube-controller-manager"] * controller_manager
        self._files = {name: self.programs.file(name) for name in ("etcd", "kube-apiserver", *self._wanted)}
        self._audit = audit
        self._processes: dict[str, Process] = {}
        self._apis: list[Api] = []

    # ------------------------------------------------------------ life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Return when all of it is ready."""
        self._folder = OwnedFolder()
        self._launcher = Launcher()
        try:
            self._make_certificates()
            self._start_on_free_ports()
            self.namespace("default")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every process and remove the folder."""
        for api in self._apis:
            api.close()
        self._end_processes()
        self._launcher.close()
        self._folder.remove()

    def _start_on_free_ports(self) -> None:
        for last in (False,) * (PORT_TRIES - 1) + (True,):
            try:
                self._start_processes()
                return
            except PortTaken:
                self._end_processes()
                shutil.rmtree(self.folder / "etcd", ignore_errors=True)
                if last:
                    raise

    def _start_processes(self) -> None:
        self.place = place = flags.Place(self.folder, self.programs.minor, *(free_port() for _ in range(5)))
        self.admin = self.user("admin", "system:masters")
        self.api = self.connect(self.admin)
        self._run(self._process("etcd", flags.etcd(place), etcd_ready(place.etcd, self.folder.name)))
        arguments = flags.api_server(
            place, self._serving, self.front_proxy, self.authority.certificate, audit=self._audit
        )
        self._run(self._server("kube-apiserver", arguments, place.api_server))
        self._run(*(self._component(name) for name in self._wanted))

    def _component(self, name: str) -> Process:
        kubeconfig = self.user(f"system:{name}").kubeconfig
        if name == "kube-scheduler":
            arguments = flags.scheduler(self.place, self._serving, kubeconfig)
            return self._server(name, arguments, self.place.scheduler)
        arguments = flags.controller_manager(
            self.place, self._serving, kubeconfig, self.authority.certificate
        )
        return self._server(name, arguments, self.place.controller_manager, "/healthz")

    def _server(self, name: str, arguments: list[str], port: int, path: str = "/readyz") -> Process:
        return self._process(name, arguments, server_ready(port, path, self.admin.tls()))

    def _process(self, name: str, arguments: list[str], ready: Callable[[], bool]) -> Process:
        process = Process(name, self._files[name], arguments, self.folder, ready)
        self._processes[name] = process
        return process

    def _run(self, *processes: Process) -> None:
        for process in processes:
            process.start(self._launcher)
        for process in processes:
            process.wait(START_S)

    def _end_processes(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.end()
        self._processes.clear()

    def restart(self, name: str) -> None:
        """End a program and start it again on the same port: 1.3 s for the controller manager."""
        process = self._processes[name]
        process.end()
        self._run(process)

    # ------------------------------------------------------------ what it is made of

    @property
    def folder(self) -> Path:
        return self._folder.path

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by program."""
        return {name: process.pid for name, process in self._processes.items()}

    def check(self) -> None:
        """ProgramEnded if one of them ended by itself."""
        for process in self._processes.values():
            process.check()

    def log(self, name: str) -> str:
        """What a program wrote so far."""
        return self._processes[name].log()

    def writes(self) -> Iterator[Write]:
        """What every user wrote so far, as the API server saw it. Only with *audit*."""
        return audit.writes(self.folder / flags.AUDIT_LOG)

    def _make_certificates(self) -> None:
        def authority(name: str) -> Authority:
            (self.folder / name).mkdir()
            return Authority(self.folder / name, name)

        self.authority = authority("controlplane-ca")
        self.front_proxy_authority = authority("front-proxy-ca")
        self.aggregated_authority = authority("aggregated-ca")
        self.front_proxy = self.front_proxy_authority.client("front-proxy-client")
        self._serving = self.authority.server([*SERVED, flags.SERVICE_ADDRESS, *NAMES], file="serving")
        self._token_key = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "service-account.key").write_text(private_key_pem(self._token_key))
        (self.folder / "service-account.pub").write_text(public_key_pem(self._token_key))

    # ------------------------------------------------------------ who asks

    def user(self, name: str, *groups: str) -> Access:
        """Anybody, by client certificate. Without a role binding they may do nothing: 403."""
        return self.access(name, credential=self.authority.client(name, groups))

    def access(self, name: str, credential: Credential | None = None, token: str | None = None) -> Access:
        """Whoever shows this certificate or this token, with a kubeconfig of this name."""
        kubeconfig = self._unused(f"{name.replace('/', '_')}.kubeconfig")
        access = Access(
            HOST, self.place.api_server, self.authority.certificate, kubeconfig, credential, token
        )
        write_kubeconfig(access)
        return access

    def nobody(self) -> Access:
        """Neither certificate nor token: 401."""
        return self.access("nobody")

    def service_account(self, namespace: str, name: str) -> Access:
        """A service account, made if it is not there, by a token of the API server's."""
        self._ensure(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        issued = self.api.create(path, {"spec": {"audiences": [], "expirationSeconds": 3600}})
        return self.access(f"{namespace}-{name}", token=issued["status"]["token"])

    def minted_token(self, namespace: str, name: str, expires_s: float, audiences: Sequence[str] = ()) -> str:
        """A token of an existing service account that ends in so many seconds (negative: ended)."""
        account = self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
        return signed_token(self._token_key, account, audiences, expires_s)

    def connect(self, access: Access) -> Api:
        """Calls as this user, until the control plane closes."""
        api = Api(access)
        self._apis.append(api)
        return api

    def kubectl(
        self, *arguments: str, access: Access | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a user (the admin by default)."""
        kubeconfig = (access or self.admin).kubeconfig
        own = [f"--kubeconfig={kubeconfig}", f"--cache-dir={self.folder / 'kubectl-cache'}"]
        return subprocess.run(
            ["kubectl", *own, *arguments],
            executable=self.programs.file("kubectl"),
            capture_output=True,
            text=True,
            check=check,
        )

    def _unused(self, name: str) -> Path:
        """The same user twice has two tokens, or two sets of groups: each stays what it was."""
        path, number = self.folder / name, 1
        while path.exists():
            number += 1
            path = self.folder / f"{number}-{name}"
        return path

    # ------------------------------------------------------------ what is there

    def namespace(self, name: str) -> str:
        """A namespace in which pods can be created at once: with its default ServiceAccount."""
        self._ensure("/api/v1/namespaces", {"metadata": {"name": name}})
        self._ensure(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        return name

    def add_nodes(self, count: int, prefix: str = "node", **shape: Any) -> list[str]:
        """Fake nodes `<prefix>-<n>`, each of this shape: see `nodes.node`."""
        names = [f"{prefix}-{number}" for number in range(count)]
        for name in names:
            self.api.create("/api/v1/nodes", node(name, **shape))
        return names

    def _ensure(self, path: str, document: Document) -> None:
        try:
            self.api.create(path, document)
        except ApiRefused as refused:
            if refused.word != "AlreadyExists":
                raise

    # ------------------------------------------------------------ aggregated APIs

    def serving(self, service: str, namespace: str) -> Credential:
        """What an aggregated API's server behind this Service shows; its `authority` is the caBundle."""
        host = f"{service}.{namespace}.svc"
        return self.aggregated_authority.server([host, *SERVED], file=host)

    def aggregate(self, group: str, version: str, service: str, namespace: str, port: int) -> str:
        """Have the API server pass `/apis/<group>/<version>` on to 127.0.0.1:*port*; returns the APIService.

        An ExternalName Service is the one way to loopback: EndpointSlices may not name 127.0.0.1.
        """
        self.namespace(namespace)
        spec: dict[str, Any] = {"type": "ExternalName", "externalName": "localhost"}
        self._ensure(
            f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": service}, "spec": spec}
        )
        name = f"{version}.{group}"
        spec = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": self.aggregated_authority.pem,
            "service": {"name": service, "namespace": namespace, "port": port},
        }
        document = {"metadata": {"name": name}, "spec": spec}
        self.api.create("/apis/apiregistration.k8s.io/v1/apiservices", document)
        return name
