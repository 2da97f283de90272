"""The role `serve`: the control side around the C data plane, which alone touches the bytes of requests.

`app`         assembly: start, reload, end
`shutdown`    what signals ask for, and the order of an end
`plane`       settings and workers, turned into the tables that the C plane reads
`discovery`   which workers there are: list, names, file
`health`      how they are: probes and their models
`followers`   one task per worker, for as long as it is registered
`admin`       the control port: health, metrics, workers
`guard`       who may change workers there
`readiness`   the rules behind /readyz
`readings`    what a scrape shows
`lag`         how late the control loop is
`signals`     what is told to those who merge frontends and scale
`external`    the same as external metrics, where this frontend is the only one
`accesslog`   one log line per request
"""
