"""The autoscaler: from what frontends measure to how many replicas there are to be.

    signals ──► decide ──► levels ──► guards ──► actuator        one tick; `plan` is the pure part of it
    /signals    wish per   which      who         /scale, after
    merged      component  object     objects     the drain

`spec`       what a TokenAutoscaler wants; `crds` the definition made of it
`kinds`      the objects that are read: TokenAutoscaler, parts of Grove's, HPAs
`tree`       a PodCliqueSet as what can be scaled: components, targets, units; `reading` makes it
`lookout`    asks all frontends, once for all autoscalers that name the same ones
`signals`    what they tell as a snapshot, that says itself what is missing; `demand` its values
`decide`     replicas wished for, by component: the function that a better algorithm replaces
`levels`     which PodClique, scaling group or set moves
`guards`     objections to a move, in order
`drains`     which pods empty before they go, and when they are empty
`plan`       all of these in one pure function, with its memory; `decision` what it comes to, `wording` as a
             word and a sentence
`actuator`   the only writes: /scale and the drain's annotations
`reporting`  the status of a TokenAutoscaler; `telling` writes it, and Events
`loop`       one autoscaler's ticks; `fleet` all of a process, each as leader of its set
`admin`      health, metrics (`series`) and explanations over HTTP
`settings`   the YAML file; `manifests` what a cluster needs
"""
