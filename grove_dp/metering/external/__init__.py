"""External metrics: what all frontends tell, as HPA and KEDA read it.

The way of a value, once a second:

    frontends ─ merging ─> samples ──> targets ──> board                 bytes, ready before anyone asks
                `overview` keeps it going           │
                                                    v
    aggregator ── TLS ── server ── who? ── may they? ── which? ──> answer
                   tls    │        identity  reviews     selector    documents, quantity, answers
                          └ page (its own metrics)

    `board`            what may be told, and what must not: half a sum, an old value, a value twice
    `samples`          measures of what can be scaled; `targets`: those without a worker are known, too
    `server`           the paths, over `tls`, whose certificates change while it serves
    `identity`         headers of the front proxy, believed only with its certificate
    `reviews`          whose token, and may they: asked of the API server, remembered by `expiring`
    `credentials`      certificate and CA read again and again, from files or the cluster
    `adapter`          all of it put together

    `manifests`        what is installed, and by `registration` never over somebody else's
"""

__all__: list[str] = []
