"""An API server for tests and the demo: the part of Kubernetes that controllers stand on, in one process.

    server = Server(clock)
    api = Access(InProcess(server))                 no sockets, virtual time if the clock is virtual
    async with serving(server, folder) as served:   or HTTP on loopback, with a kubeconfig (`serve`)

In scope, and equal to the real one word by word (`tests/conformance` asks both the same): versions,
conflicts, generated names, selectors, pages, watches with bookmarks and 410, merge and JSON patches, status,
scale, binding and eviction, finalizers, graceful deletion, garbage collection, CRDs with defaults, pruning
and validation, what may change of a gated pod. Not in scope: kubectl's tables, webhooks, CEL, server-side
apply, unknown fields of built-in kinds. For those there is the real one (`controlplane`, four seconds).

`server`       a request in, an answer out; `faults` trouble on request
`paths`        what a request is about; `kinds` what a kind is; `builtin`, `crds` which there are
`rules`, `pods`  in what kinds differ; `templates` their defaults; `schema`, `checks` what a CRD says
`registry`     how objects are made and changed, `deletion` how they end; `metadata` what all have
`store`        objects by version, history, watchers; `lists`, `watches` how they are read
`subresources` scale, binding, eviction; `garbage` what goes with its owner
`answers`      refusals, word by word; `selectors`, `patches`, `discovery`
`transport`    the face for the same process; `serve` the one over HTTP; `scheduler` binds pods

PERF: `serve` is not imported here: aiohttp is half of the time that importing this package would take.
Kept fast: documents are stored once as they travel, a list is put together from them, an event is encoded
once for all watchers.
"""

from grove_dp.testing.kubeapi.faults import Faults
from grove_dp.testing.kubeapi.scheduler import Scheduler
from grove_dp.testing.kubeapi.server import Reply, Server, Write
from grove_dp.testing.kubeapi.transport import InProcess
from grove_dp.testing.kubeapi.watches import WatchReply

__all__ = ["Faults", "InProcess", "Reply", "Scheduler", "Server", "WatchReply", "Write"]
