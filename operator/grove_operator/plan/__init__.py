"""Decisions of the operator: pure functions from what is, to what is to be done.

set, live counts ──tree──▶ units ──services, access, cliques, groups, gangs, autoscalers──▶ Wanted
Wanted, observed ──diff──▶ creates, patches, deletes
clique, its pods ──pods──▶ pods to create      ──victims──▶ pods to give up
"""
