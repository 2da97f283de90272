"""Decisions of the operator: pure functions from what is, to what is to be done.

    set, live counts ──tree──▶ units ──expand──▶ Wanted: services, access, groups, gangs, cliques, autoscalers
    clique, its pods ──crew──▶ names and indices that are missing ──pods──▶ Wanted
                       └─────▶ pods that are too many (victims), or lost
    Wanted, observed ──diff──▶ creates, merge patches, deletes

Documents are values: several may share a template's parts, and nobody changes one.
"""
