"""A stand-in for vLLM workers: engine, wire formats, faults.

Import the part that is needed; this package imports nothing by itself, so that the
command line stays quick.

    profiles   step time of a model on a machine (roofline)
    blocks     the pool of KV-cache blocks with its prefix cache
    engine     the scheduler: waiting and running sequences, one step at a time
    tokenizer  chat template and tokens
    worker     one or many workers behind HTTP, with fault switches
"""
