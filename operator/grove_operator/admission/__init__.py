"""What a PodCliqueSet must be before anything is made of it.

    document ──► defaults ──► validate ──► stored, and expanded
                  (patch)      (faults, warnings)

`defaults`      what Grove fills in, as a JSON patch
`validate`      every rule, for new documents and for changes; the table of rules is in its head
`drafts`        the parts of a document that rules look at, read without ever raising
`faults`        what is wrong, where, and how the API server would say it
`grammar`       names, labels, durations as Kubernetes accepts them
`names` `cliques` `groups` `order` `rollout` `resources` `schedulers` `topology` `updates` `binding`  rules
`webhook`       the same over HTTP, as AdmissionReviews
`registration`  how the API server learns of it

All but `webhook` are pure: where no webhook is registered the controller asks the same functions.
"""
