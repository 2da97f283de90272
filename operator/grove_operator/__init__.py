"""The operator: Grove's API, kept true.

    watch ──► key of the set ──► observe ──► plan (pure) ──► apply ──► status

`naming`     names, labels and hashes: what others find our objects by
`api`        the objects of Grove's API, as they are read
`admission`  defaults and validation: what a set may say
`plan`       from a set to the objects that it wants
`watching`, `observing`, `applying`, `controllers`  from the cluster to plans, and from plans to calls
`gang`       gangs on a scheduler that knows none
`main`, `process`, `webhooks`, `settings`  the program
"""
