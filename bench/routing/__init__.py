"""What routing by KV cache costs: one lookup, one block told, one choice, one request.

index.py      the prefix index and the names of blocks, from C and from Python
events.py     the intake of workers' events: CPU per block, bytes per block
books.py      select, book, settle
frontend.py   the whole frontend with exact tokens: CPU per request, time to the first token
prompts.py    its requests
workers.py    its workers, which are fakes that tell tokens
native.py     builds and runs the C programs
c/            the C programs
"""
