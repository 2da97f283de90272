"""From a request's bytes to token ids and block hashes, exactly as the worker will make them.

    body --requests--> messages --messages, template--> text --tokenizer--> ids --Chain--> block hashes
                             \\______________ memo: what was seen before, per message boundary ______/

Everything here either equals what vLLM does or refuses with `Unsupported`, and the caller then routes
approximately. Whether it equals is not believed but asked: `probe` compares with the worker's own /tokenize.
"""
