"""What is measured, and how others may read it.

`prometheus`   the plane's counters and histograms as metric families
`scrape`       the load that a worker's own metrics tell

External metrics, for HPA and KEDA:

`external`     the board: values rendered beforehand, and what it must not say
`adapter`      all of what follows put together; `external_server` is its HTTP side
`external_*`   documents, quantities, selectors; who asks and may they; TLS that changes while it serves
`certificates`, `own_certificate`    a serving certificate kept in a Secret
`manifests`, `registration`          what is installed, and never over somebody else's
"""
