"""Every setting of `grove-dp operator`: its type, bounds, default and meaning. Values only.

    --webhooks.port 9443   GROVE_OPERATOR_WEBHOOKS__PORT   webhooks: {port: 9443} in the --config file

Declared and read as those of `grove-dp serve` (`grove_dp.config`). None takes effect without a restart.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from grove_dp.config import Program
from grove_dp.declaring import count, field, seconds, text
from grove_dp.kube.candidate import LeaseTimes

__all__ = [
    "OPERATOR",
    "RULES",
    "Cluster",
    "Gang",
    "Health",
    "Leader",
    "Log",
    "OperatorSettings",
    "Order",
    "Scheduler",
    "Topology",
    "Webhooks",
    "Work",
]


class Cluster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cluster, and what of it."""

    kubeconfig: Annotated[
        str | None, text("file that tells the API server; unset: KUBECONFIG, else the pod's own account")
    ] = None
    context: Annotated[str | None, text("context of the kubeconfig; unset: its current one")] = None
    namespace: Annotated[
        str | None, text("the only namespace whose sets are kept; unset: those of the whole cluster")
    ] = None


class Leader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several operators works, the others stand by."""

    enabled: Annotated[bool, field("elect one; without, there must never be a second operator")] = True
    lease: Annotated[str, text("name of the Lease", min_length=1)] = "grove-operator-leader-election"
    namespace: Annotated[str | None, text("where the Lease is; unset: our own namespace")] = None
    duration_s: Annotated[float, seconds("others wait this long for a leader that is silent", ge=1)] = 15.0
    deadline_s: Annotated[float, seconds("a leader that cannot renew gives up after this", ge=0.5)] = 10.0
    retry_s: Annotated[float, seconds("between two renewals, and two looks of the others", ge=0.1)] = 2.0

    @property
    def times(self) -> LeaseTimes:
        """What an election wants to know: most of the time that is left over is for the work to stop."""
        stop_s = 0.8 * (self.duration_s - self.deadline_s)
        return LeaseTimes(
            duration_s=self.duration_s, deadline_s=self.deadline_s, stop_s=stop_s, retry_s=self.retry_s
        )


class Work(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is done at a time."""

    workers: Annotated[int, count("replicas of sets that are worked on at a time", ge=1, le=1024)] = 32


class Webhooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults and rules, asked by the API server before it stores a set."""

    enabled: Annotated[
        bool, field("serve and register them; without, the same rules show in a condition of the set")
    ] = True
    host: Annotated[str, text("address to listen on; 0.0.0.0 for all", min_length=1)] = "127.0.0.1"
    port: Annotated[int, count("port to listen on; 0 takes a free one", ge=0, le=65_535)] = 9443
    service: Annotated[str, text("the Service by which the API server finds us", min_length=1)] = (
        "grove-operator"
    )
    namespace: Annotated[str | None, text("its namespace, and the Secret's; unset: our own")] = None
    url: Annotated[
        str | None,
        text("https://HOST[:PORT] by which the API server finds us instead, from outside of the cluster"),
    ] = None
    secret: Annotated[str, text("the Secret in which we keep a certificate of our own", min_length=1)] = (
        "grove-operator-webhooks"
    )
    cert_dir: Annotated[
        str | None,
        text("folder with tls.crt and tls.key to serve instead; its ca.crt, if any, becomes the caBundle"),
    ] = None
    inject_ca_from: Annotated[
        str | None,
        text("NAMESPACE/CERTIFICATE of cert-manager, which then writes the caBundle; needs cert_dir"),
    ] = None
    policy: Annotated[
        Literal["Fail", "Ignore"], text("what the API server does with a set while nobody answers")
    ] = "Fail"


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The port of /livez, /readyz and /metrics."""

    host: Annotated[str, text("address to listen on; 0.0.0.0 for all", min_length=1)] = "127.0.0.1"
    port: Annotated[int, count("port to listen on; 0 takes a free one", ge=0, le=65_535)] = 9444


class Scheduler(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who places pods."""

    default: Annotated[str, text("the scheduler of sets whose cliques name none", min_length=1)] = (
        "default-scheduler"
    )
    names: Annotated[tuple[str, ...], text("schedulers that cliques may name")] = (
        "default-scheduler",
        "kai-scheduler",
    )
    backend: Annotated[
        Literal["auto", "own", "native", "none"],
        text(
            "who makes gangs whole: own (gates and pins, on any scheduler), none (pods are not held), auto"
            " (own for the default scheduler; KAI and Volcano by their PodGroups, or own on the default"
            " scheduler where they are not there), or native (the same, and Kubernetes' PodGroups for all"
            " others, where they are served)"
        ),
    ] = "auto"


class Gang(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All pods of a gang or none: the own backend."""

    confirm_s: Annotated[float, seconds("a released gang must be bound within this", ge=0.1)] = 10.0
    tries: Annotated[
        int, count("releases of what was not bound before the gang is taken back", ge=1, le=100)
    ] = 3
    backoff_s: Annotated[float, seconds("first wait of a gang that was taken back; doubles", ge=0.1)] = 5.0
    provision: Annotated[
        bool, field("let a gang that has no room go without a place, so that a cluster autoscaler sees it")
    ] = False
    provision_s: Annotated[float, seconds("such a gang must be bound within this", ge=1)] = 900.0


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How cliques that start after others are held back."""

    by: Annotated[
        Literal["gates", "init"], text("gates (by us, before they have a node) or an init container")
    ] = "gates"
    image: Annotated[
        str | None, text("image of the init container, with the command grove-dp; needed where it is used")
    ] = None
    command: Annotated[tuple[str, ...], text("its command; its arguments are appended")] = (
        "grove-dp",
        "wait-for",
    )


class Topology(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Packing by ClusterTopologyBindings."""

    enabled: Annotated[bool, field("whether sets may have topology constraints")] = True


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], text("the least severity")] = "info"
    format: Annotated[Literal["text", "json"], text("for people, or for machines")] = "text"


class OperatorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them."""

    cluster: Cluster = Cluster()
    leader: Leader = Leader()
    work: Work = Work()
    webhooks: Webhooks = Webhooks()
    health: Health = Health()
    scheduler: Scheduler = Scheduler()
    gang: Gang = Gang()
    order: Order = Order()
    topology: Topology = Topology()
    log: Log = Log()


# ------------------------------------------------------------ rules of the whole

Objection = tuple[str, str] | None  # the path, and what is wrong with it


def _leader_gives_up_before_others_take(s: OperatorSettings) -> Objection:
    if s.leader.retry_s < s.leader.deadline_s < s.leader.duration_s:
        return None
    told = f"{s.leader.retry_s:g}, {s.leader.deadline_s:g} and {s.leader.duration_s:g}"
    return "leader.deadline_s", f"must be between retry_s and duration_s, got {told} seconds"


def _default_scheduler_is_enabled(s: OperatorSettings) -> Objection:
    if s.scheduler.default in s.scheduler.names:
        return None
    return "scheduler.names", f"must contain scheduler.default, which is {s.scheduler.default!r}"


def _init_container_has_an_image(s: OperatorSettings) -> Objection:
    if s.order.by == "gates" or s.order.image:
        return None
    return "order.image", "must be set, for order.by is init: an image with the command grove-dp"


def _url_is_https(s: OperatorSettings) -> Objection:
    url = s.webhooks.url
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and bool(parts.hostname) and parts.path in ("", "/")
        fine = fine and parts.port != 0 and not parts.query and "@" not in parts.netloc
    except ValueError:
        fine = False
    return None if fine else ("webhooks.url", f"must be https://HOST or https://HOST:PORT, got {url!r}")


def _injection_has_files(s: OperatorSettings) -> Objection:
    given = s.webhooks.inject_ca_from
    if given is None:
        return None
    if given.count("/") != 1 or not all(given.split("/")):
        return "webhooks.inject_ca_from", f"must be NAMESPACE/CERTIFICATE, got {given!r}"
    if s.webhooks.cert_dir is None:
        return "webhooks.inject_ca_from", "needs webhooks.cert_dir, where that certificate is mounted"
    return None


def _ports_differ(s: OperatorSettings) -> Objection:
    if not s.webhooks.enabled or s.webhooks.port != s.health.port or s.health.port == 0:
        return None
    return "health.port", f"must not be webhooks.port, {s.webhooks.port}"


RULES = (
    _leader_gives_up_before_others_take,
    _default_scheduler_is_enabled,
    _init_container_has_an_image,
    _url_is_https,
    _injection_has_files,
    _ports_differ,
)

OPERATOR = Program(
    OperatorSettings,
    RULES,
    "GROVE_OPERATOR_",
    {
        "cluster.kubeconfig": ("--kubeconfig",),
        "cluster.context": ("--context",),
        "cluster.namespace": ("--watch-namespace",),
        "leader.enabled": ("--leader-elect",),
        "work.workers": ("--workers",),
        "webhooks.enabled": ("--webhooks",),
        "webhooks.cert_dir": ("--webhook-cert-dir",),
        "webhooks.port": ("--webhook-port",),
        "webhooks.url": ("--webhook-url",),
        "health.port": ("--health-port",),
        "log.level": ("--log-level",),
        "log.format": ("--log-format",),
    },
)
