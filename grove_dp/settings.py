"""Every setting of `grove-dp serve`: its type, bounds, default and meaning. Values only.

One frozen Struct per section; the annotation of a field is its whole documentation, and flags, environment
variables, the JSON schema and the messages of `config check` are all made from it (see config.py).
Durations are seconds and end in `_s`; sizes are bytes and end in `_bytes` (a source may write "32MiB").
A field marked *live* takes effect when the configuration is read again; the others need a restart.

What one field alone cannot tell stands in RULES: small functions of the whole, each naming the path it
objects to.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Struct

from grove_dp.declaring import count as _count
from grove_dp.declaring import field as _field
from grove_dp.declaring import seconds as _seconds
from grove_dp.declaring import size as _bytes
from grove_dp.declaring import text as _text

__all__ = [
    "RULES",
    "Admin",
    "Circuit",
    "Deadlines",
    "Drain",
    "External",
    "Health",
    "Http",
    "Index",
    "Kubernetes",
    "KvEvents",
    "Limits",
    "Log",
    "Queue",
    "Retry",
    "Routing",
    "Rule",
    "Settings",
    "Slo",
    "Tokens",
    "Usage",
    "Workers",
    "read_class",
]

CLASSES_MAX = 8


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients connect."""

    host: Annotated[str, _text("address to listen on; 0.0.0.0 for all", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _count("port to listen on; 0 takes a free one", ge=0, le=65_535)] = 8000
    threads: Annotated[
        int, _count("I/O threads; 0 runs the data plane inside the control loop", ge=0, le=64)
    ] = 1
    half_close: Annotated[
        Literal["close", "allow"],
        _text("a client that shuts its sending side after a request: gone (close), or still reading (allow)"),
    ] = "close"
    access_log: Annotated[bool, _field("one log line per request")] = False


class Admin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control port: health, metrics, workers."""

    host: Annotated[str, _text("address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _count("port to listen on; 0 takes a free one", ge=0, le=65_535)] = 9090
    token_file: Annotated[
        str | None, _text("file with the bearer token for changing calls; must be set when not on loopback")
    ] = None


class Workers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vLLM workers behind this frontend."""

    urls: Annotated[
        tuple[str, ...],
        _text("base URLs, http://HOST:PORT; a name is one worker, resolved again and again", live=True),
    ] = ()
    file: Annotated[
        str | None, _text("YAML list of workers (url, max_inflight, ...), read again when it changes")
    ] = None
    kubernetes: Annotated[
        str | None,
        _text("label selector of pods that are workers, such as app=vllm; see kubernetes.namespace"),
    ] = None
    model: Annotated[
        str | None, _text("served model name to assume instead of asking each worker's /v1/models")
    ] = None
    known_models: Annotated[
        tuple[str, ...],
        _text(
            "models whose requests wait (queue.no_worker_s) and are counted although no worker serves them:"
            " what is to scale from zero",
            live=True,
        ),
    ] = ()
    max_inflight: Annotated[
        int,
        _count(
            "requests in flight per worker before others wait in the queue; 0 means no cap",
            ge=0,
            le=1_000_000,
            live=True,
        ),
    ] = 0
    resolve_s: Annotated[float, _seconds("how often host names are resolved again", ge=0.1)] = 10.0
    connections_idle_s: Annotated[
        float,
        _seconds(
            "an unused connection to a worker is closed after this; vLLM closes its side at 5 s", le=3600
        ),
    ] = 4.0


class Kubernetes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cluster: its pods are workers (workers.kubernetes), its users ask for metrics (external.mode)."""

    namespace: Annotated[
        str | None, _text("where workers' pods are; unset: our own namespace; * for all of the cluster")
    ] = None
    kubeconfig: Annotated[
        str | None, _text("file that tells the API server; unset: KUBECONFIG, else the pod's own account")
    ] = None
    context: Annotated[str | None, _text("context of the kubeconfig; unset: its current one")] = None


class Routing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker is chosen."""

    policy: Annotated[
        Literal["kv", "approx", "least_load", "round_robin", "random", "session"],
        _text(
            "kv (least predicted cost, by the prompt's tokens where they are known), approx (the same by its"
            " text), least_load (in flight), round_robin, random, or session (by a header)",
            live=True,
        ),
    ] = "kv"
    policy_header: Annotated[
        str | None,
        _text(
            "header by which a request may choose its policy; unset: none is trusted to",
            live=True,
        ),
    ] = None
    hash_key_file: Annotated[
        str | None,
        _text("file with the secret of the block names; the same for frontends that compare them"),
    ] = None
    session_header: Annotated[
        str,
        _text(
            "header whose value keeps a session on one worker (policy session)",
            live=True,
            pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$",
        ),
    ] = "x-session-id"
    expose_headers: Annotated[
        bool,
        _field(
            "tell x-grove-worker and x-grove-cached-tokens on each response; else only when a request has"
            " the header x-grove-expose",
            live=True,
        ),
    ] = False


class Index(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of the workers' KV caches."""

    memory_bytes: Annotated[
        int,
        _bytes("cap of the prefix index; what was not asked for longest goes first", ge=1 << 20, le=1 << 38),
    ] = 256 << 20
    predicted_pct: Annotated[
        int, _count("share of it, in percent, for what only our own placements say", ge=1, le=90)
    ] = 25
    predict_s: Annotated[
        float,
        _seconds("a placed prompt is expected on its worker for this long before it reports it", le=3600),
    ] = 5.0
    predict_text_s: Annotated[float, _seconds("the same where nobody will report it (by text)")] = 600.0
    ring_bytes: Annotated[
        int, _bytes("events that may wait for the index thread", ge=64 << 10, le=1 << 30)
    ] = 16 << 20


class KvEvents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the workers tell about their KV caches."""

    mode: Annotated[
        Literal["auto", "off"],
        _text("auto: subscribe to workers that say where (GET /kv_event_sources), or as `endpoint` says"),
    ] = "auto"
    endpoint: Annotated[
        str | None,
        _text("where workers publish that cannot say: tcp://*:PORT of rank 0; the host is the worker's"),
    ] = None
    replay_endpoint: Annotated[
        str | None, _text("their replay socket, tcp://*:PORT of rank 0; unset: none")
    ] = None
    heal: Annotated[
        bool,
        _field(
            "a worker whose events have a hole that no replay fills is asked to tell again of the blocks that"
            " requests find (vllm_xargs.kv_cache_report_mode, vLLM 0.26 and later)"
        ),
    ] = False
    topic: Annotated[str | None, _text("topic to subscribe to; unset: all")] = None


class Tokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turning prompts into the tokens that the worker will see."""

    mode: Annotated[
        Literal["auto", "off"],
        _text("auto: where a model's tokenizer is at hand and agrees with its workers; off: by text only"),
    ] = "auto"
    models: Annotated[
        tuple[str, ...],
        _text("directories with tokenizer.json and chat template: DIR for all models, or MODEL=DIR"),
    ] = ()
    wait_s: Annotated[
        float, _seconds("a request waits this long for its tokens, then it is placed by its text", le=10)
    ] = 0.005
    wait_64k_s: Annotated[float, _seconds("and this much longer for each 64 KiB of its body", le=1)] = 0.001
    jobs: Annotated[
        int, _count("requests that may wait for their tokens at a time", ge=1, le=1_000_000, live=True)
    ] = 1024
    memo_bytes: Annotated[
        int, _bytes("what was tokenized before, kept to go on from, per model", ge=0, le=1 << 36)
    ] = 64 << 20
    recall_bytes: Annotated[
        int,
        _bytes(
            "names of whole prompts that were read, so that one that comes again does not wait; 0: none",
            ge=0,
            le=1 << 36,
            live=True,
        ),
    ] = 32 << 20


class Slo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised to clients; the queue serves by it."""

    ttft_s: Annotated[
        float, _seconds("time to first token, on top of the prompt's own computing time", ge=0.001)
    ] = 2.0
    itl_s: Annotated[float, _seconds("mean time between tokens", ge=0.001)] = 0.060
    class_header: Annotated[
        str | None, _text("header that names a request's class; unset: all are of the one above", live=True)
    ] = None
    classes: Annotated[
        tuple[str, ...],
        _text(
            "classes with promises of their own, at most 8: NAME=TTFT_S/ITL_S, such as batch=30/0.2",
            live=True,
        ),
    ] = ()


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asking the workers whether they live."""

    interval_s: Annotated[float, _seconds("time between two probes of a worker", ge=0.05)] = 2.0
    timeout_s: Annotated[float, _seconds("a probe without an answer has failed after this", ge=0.01)] = 2.0
    path: Annotated[str, _text("what a probe asks for", live=True, pattern=r"^/[!-~]*$")] = "/health"
    failures: Annotated[
        int, _count("failed probes in a row that take a worker out", ge=1, le=1000, live=True)
    ] = 3
    models_interval_s: Annotated[float, _seconds("how often /v1/models is asked again", ge=0.05)] = 30.0


class Circuit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Taking a worker out because requests to it fail."""

    failures: Annotated[
        int, _count("failed requests in a row that open the circuit", ge=1, le=1000, live=True)
    ] = 5
    open_s: Annotated[
        float, _seconds("how long it stays open before one request may probe; doubles each time", ge=0.01)
    ] = 2.0
    max_open_s: Annotated[float, _seconds("the longest it stays open", ge=0.01)] = 30.0


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trying another worker, before the client has seen a byte."""

    attempts: Annotated[
        int, _count("workers tried for one request, the first included", ge=1, le=16, live=True)
    ] = 3
    budget_ratio: Annotated[
        float,
        _field(
            "retries earned by each request; keeps a failing fleet from being hit harder",
            live=True,
            ge=0,
            le=10,
        ),
    ] = 0.5
    budget_burst: Annotated[int, _count("retries that can be saved up", ge=0, le=1_000_000, live=True)] = 1024
    budget_per_s: Annotated[float, _field("retries earned by time alone", live=True, ge=0, le=100_000)] = 10.0


class Deadlines(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each phase of a request may take."""

    head_s: Annotated[float, _seconds("to receive a request's head, from its first byte", ge=0.01)] = 10.0
    body_s: Annotated[float, _seconds("to receive a request's body", ge=0.01)] = 60.0
    connect_s: Annotated[float, _seconds("to connect to a worker", ge=0.01)] = 2.0
    first_token_s: Annotated[
        float, _seconds("from sending a streamed request to its first event", ge=0.01)
    ] = 120.0
    answer_s: Annotated[
        float, _seconds("from sending a request that is not streamed to its answer", ge=0.01)
    ] = 600.0
    between_tokens_s: Annotated[float, _seconds("between two pieces of a stream", ge=0.01)] = 60.0
    total_s: Annotated[float, _seconds("for the whole request; 0 means no limit")] = 0.0
    idle_s: Annotated[float, _seconds("an idle client connection is closed after this", ge=0.01)] = 75.0
    hold_max_s: Annotated[
        float, _seconds("keep-alive comments of a worker do not release a stream's head before this")
    ] = 10.0


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is refused, so that memory stays bounded."""

    connections: Annotated[int, _count("client connections at a time", ge=1, le=1_000_000)] = 65_536
    head_bytes: Annotated[int, _bytes("a request's head", ge=1024, le=1 << 20)] = 64 << 10
    headers: Annotated[int, _count("headers in a request", ge=8, le=1024)] = 128
    body_bytes: Annotated[int, _bytes("a request's body", ge=1024, le=1 << 32, live=True)] = 32 << 20
    buffered_bytes: Annotated[
        int, _bytes("what all requests together may hold in memory", ge=1 << 20, le=1 << 40, live=True)
    ] = 1 << 30


class Queue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Waiting for a worker when all are full."""

    length: Annotated[
        int, _count("requests that may wait; the next gets 429", ge=0, le=1_000_000, live=True)
    ] = 16_384
    wait_s: Annotated[float, _seconds("the longest wait; then 503", ge=0)] = 300.0
    no_worker_s: Annotated[float, _seconds("the longest wait while no worker is ready; then 503", ge=0)] = 2.0
    discipline: Annotated[
        Literal["late", "fifo"],
        _text(
            "late: who cannot meet slo.ttft_s any more stands behind those who can; fifo: by arrival",
            live=True,
        ),
    ] = "late"
    full_s: Annotated[
        float,
        _seconds("a worker with more predicted work than this is full; 0: only max_inflight fills one"),
    ] = 0.6
    hold: Annotated[
        float,
        _field(
            "a worker whose tokens would come slower than this times slo.itl_s is full",
            live=True,
            ge=0.1,
            le=100,
        ),
    ] = 1.03
    demote_s: Annotated[
        float, _seconds("from this much waiting work per worker on the largest stand aside first", ge=0)
    ] = 1.7
    guard_s: Annotated[float, _seconds("who stood aside this long goes first", ge=0)] = 180.0
    guard_every_s: Annotated[float, _seconds("one of them in this time", ge=0)] = 1.0


class Drain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After SIGTERM."""

    delay_s: Annotated[
        float, _seconds("readyz fails, serving goes on: time for load balancers to notice")
    ] = 5.0
    grace_s: Annotated[float, _seconds("time for streams to finish once accepting has stopped")] = 60.0


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _text("least severity", live=True)] = (
        "info"
    )
    format: Annotated[Literal["text", "json"], _text("for people or for machines")] = "text"


class External(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """External metrics for HPA and KEDA, served by this frontend itself."""

    mode: Annotated[
        Literal["off", "sole"],
        _text(
            "sole: serve external.metrics.k8s.io for this frontend's requests, which are all that there are;"
            " where there are several frontends, run `grove-dp metrics-adapter` instead"
        ),
    ] = "off"
    host: Annotated[str, _text("address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _count("port to listen on; 0 takes a free one", ge=0, le=65_535)] = 6443
    namespace: Annotated[str | None, _text("our namespace")] = None
    service: Annotated[
        str | None,
        _text("the Service in front of this port; while it leads to a second frontend nothing is told"),
    ] = None
    secret: Annotated[
        str | None, _text("keep a certificate in this Secret, made and renewed by us; else name both files")
    ] = None
    tls_cert_file: Annotated[str | None, _text("certificate, read again when it changes")] = None
    tls_key_file: Annotated[str | None, _text("its key")] = None
    trust_front_proxy: Annotated[
        bool, _field("the front proxy has authorised already: ask no SubjectAccessReview")
    ] = False
    keda_token_file: Annotated[str | None, _text("a token that opens /keda, beside the cluster's own")] = None
    window_s: Annotated[
        float, _seconds("that rates are of: shorter is quicker and less calm", ge=5, le=900, live=False)
    ] = 60.0
    targets: Annotated[
        tuple[str, ...],
        _text("what has values without a worker, too: NAMESPACE/PCS/COMPONENT[/ROLE]=MODEL"),
    ] = ()


class Usage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counting tokens."""

    inject: Annotated[
        bool,
        _field(
            "ask workers for usage in every stream and take it out again when the client did not", live=True
        ),
    ] = True


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of the role `serve`."""

    http: Http = Http()
    admin: Admin = Admin()
    workers: Workers = Workers()
    kubernetes: Kubernetes = Kubernetes()
    routing: Routing = Routing()
    index: Index = Index()
    kv_events: KvEvents = KvEvents()
    tokens: Tokens = Tokens()
    slo: Slo = Slo()
    health: Health = Health()
    circuit: Circuit = Circuit()
    retry: Retry = Retry()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()
    queue: Queue = Queue()
    drain: Drain = Drain()
    log: Log = Log()
    usage: Usage = Usage()
    external: External = External()


Rule = Callable[[Settings], tuple[str, str] | None]
"""The path objected to and why, or None."""


def _hold_ends_before_first_token(s: Settings) -> tuple[str, str] | None:
    if s.deadlines.hold_max_s <= s.deadlines.first_token_s:
        return None
    return "deadlines.hold_max_s", f"must not exceed deadlines.first_token_s ({s.deadlines.first_token_s:g})"


def _total_covers_first_token(s: Settings) -> tuple[str, str] | None:
    if s.deadlines.total_s == 0 or s.deadlines.total_s >= s.deadlines.first_token_s:
        return None
    return (
        "deadlines.total_s",
        f"must be 0 or at least deadlines.first_token_s ({s.deadlines.first_token_s:g})",
    )


def _circuit_opens_no_longer_than_its_maximum(s: Settings) -> tuple[str, str] | None:
    if s.circuit.open_s <= s.circuit.max_open_s:
        return None
    return "circuit.open_s", f"must not exceed circuit.max_open_s ({s.circuit.max_open_s:g})"


def _buffer_holds_a_body(s: Settings) -> tuple[str, str] | None:
    if s.limits.buffered_bytes >= s.limits.body_bytes:
        return None
    return "limits.buffered_bytes", f"must hold at least one body, limits.body_bytes ({s.limits.body_bytes})"


def _ports_differ(s: Settings) -> tuple[str, str] | None:
    if s.http.port == 0 or (s.http.host, s.http.port) != (s.admin.host, s.admin.port):
        return None
    return "admin.port", f"is http.port too ({s.http.port}); they need two"


def _admin_beyond_loopback_has_a_token(s: Settings) -> tuple[str, str] | None:
    loopback = s.admin.host in ("localhost", "::1") or s.admin.host.startswith("127.")
    if loopback or s.admin.token_file is not None:
        return None
    return "admin.token_file", f"must be set while admin.host is not loopback ({s.admin.host})"


def _urls_are_worker_urls(s: Settings) -> tuple[str, str] | None:
    wrong = next((url for url in s.workers.urls if not url.startswith("http://") or url == "http://"), None)
    if wrong is None:
        return None
    return (
        "workers.urls",
        f"{wrong!r} is no worker URL; write http://HOST:PORT (TLS to workers is not supported)",
    )


def read_class(told: str) -> tuple[str, float, float]:
    """Name, seconds to the first token and between tokens of `NAME=TTFT_S/ITL_S`. ValueError."""
    found = re.fullmatch(r"([!-<>-~]{1,64})=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", told)
    if found is None or not (float(found[2]) > 0 and float(found[3]) > 0):
        raise ValueError(f"{told!r} is not NAME=TTFT_S/ITL_S, such as batch=30/0.2")
    return found[1], float(found[2]), float(found[3])


def _classes_are_classes(s: Settings) -> tuple[str, str] | None:
    if len(s.slo.classes) > CLASSES_MAX:
        return "slo.classes", f"there may be {CLASSES_MAX}, got {len(s.slo.classes)}"
    try:
        for told in s.slo.classes:
            read_class(told)
    except ValueError as error:
        return "slo.classes", str(error)
    return None


def _is_header(name: str | None) -> bool:
    return name is None or re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]{1,63}", name) is not None


def _chosen_headers_are_headers(s: Settings) -> tuple[str, str] | None:
    named = {"routing.policy_header": s.routing.policy_header, "slo.class_header": s.slo.class_header}
    wrong = next((path for path, name in named.items() if not _is_header(name)), None)
    if wrong is None:
        return None
    return wrong, f"{named[wrong]!r} is no header's name in small letters, such as x-policy"


def _external_has_one_certificate(s: Settings) -> tuple[str, str] | None:
    external = s.external
    own = (external.secret, external.namespace, external.service)
    files = (external.tls_cert_file, external.tls_key_file)
    if external.mode == "off" or (all(files) and not own[0]) or (all(own) and not any(files)):
        return None
    wanted = "external.secret, .namespace and .service, or external.tls_cert_file and .tls_key_file"
    return "external.mode", f"needs a certificate: set either {wanted}"


RULES: tuple[Rule, ...] = (
    _external_has_one_certificate,
    _chosen_headers_are_headers,
    _classes_are_classes,
    _hold_ends_before_first_token,
    _total_covers_first_token,
    _circuit_opens_no_longer_than_its_maximum,
    _buffer_holds_a_body,
    _ports_differ,
    _admin_beyond_loopback_has_a_token,
    _urls_are_worker_urls,
)
