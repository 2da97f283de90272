"""The way to the Kubernetes API, and what controllers stand on.

    Transport (cluster, or a server in this process) ──► Access: calls
                                                     └─► Informer: a copy kept true ──► Controller: keys, work

`transport`   what carries a call
`cluster`     the network: configuration, credentials, TLS; alone knows the `kubernetes` package
`abandoned`   connections given up while they are made, of which uvloop says too much
`access`      calls: paths and documents in, Structs of the fields wanted out
`errors`      what the API server refused, and what never reached it
`objects`     partial objects, and where kinds stand in the API
`informer`    objects of one kind by list and watch; `store` holds them
`queue`       keys that want work, each once, later and later after failures; `pace` bounds every loop
`controller`  workers that take keys until nothing is left to do
`lease`       one leader, and never two; `candidate` is the protocol, `timing` and `stamps` its clocks
`events`      what people see in `kubectl describe`; `occurrence` makes the documents
`conditions`  what is so, since when, and why
`backoff`     how long to wait after a failure
`manifests`   documents that are installed, as YAML or applied

For those that the API server calls, over TLS:

`certificates`     made by ourselves, each with an authority of its own
`own_certificate`  kept in a Secret, renewed in time, trusted before it is shown
`tls`              a port whose certificate changes while it serves
"""
