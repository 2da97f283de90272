"""What is measured, and how others may read it.

`meter`        counters, gauges and histograms of the core, with windows of 1 to 900 s
`ledger`       the series of requests by model and class, which the I/O threads write
`records`      the lives of the last 65,536 requests
`prometheus`   the page that is scraped; `reference` lists what is on it, `dashboard` draws it
`scrape`       the load that a worker's own metrics tell

Signals, for those who scale:

`signals`      what a frontend tells: the schema
`merging`      several frontends as one picture that says what is missing
`samples`      measures of what can be scaled, from that picture; `overview` keeps them up to date

External metrics, for HPA and KEDA:

`external`     the board: values rendered beforehand, and what it must not say
`adapter`      all of what follows put together; `external_server` is its HTTP side
`external_*`   documents, quantities, selectors; who asks and may they; TLS that changes while it serves
`certificates`, `own_certificate`    a serving certificate kept in a Secret
`manifests`, `registration`          what is installed, and never over somebody else's
"""
