"""What the Kubernetes layer costs, on the real control plane: `python -m bench.kube`.

`cluster`    1,000 pods of a real API server, and what it sent of them
`server`     a process that sends recorded bytes again, over TLS
`rows`       the figures, each beside the `kubernetes` package on the same bytes
"""
