"""What is measured, and how others may read it.

`meter`        counters, gauges and histograms of the core, with windows of 1 to 900 s
`ledger`       the series of requests by model and class, which the I/O threads write
`records`      the lives of the last 65,536 requests
`prometheus`   the page that is scraped, with `routing`; `protobuf` is one of its forms,
               `reference` lists what is on it, `dashboard` draws it
`scrape`       the load that a worker's own metrics tell

Signals, for those who scale:

`signals`      what a frontend tells: the schema
`merging`      several frontends as one picture that says what is missing
`buckets`      histograms that add up

`external`     from that picture to HPA and KEDA: external.metrics.k8s.io
"""

__all__: list[str] = []
