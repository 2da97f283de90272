"""Which workers there are, and which one gets a request.

`specs`     a worker as somebody named it: URL, id, cap
`workers`   the registry: what is known of each worker and what the data plane is told of it
"""
