"""From a request's bytes to token ids and block hashes, exactly as the worker will make them.

    body --requests, dialects--> messages --messages, template--> text --tokenizer--> ids --Chain--> names
             \\__ parsed: messages seen before                  \\__ memo: turns seen before __/

`load` reads a model's folder, `step` puts it together (PromptReader), `probe` asks a worker. Everything here
either equals what vLLM does or refuses with `Unsupported`, and the caller then routes approximately. Whether
it equals is not believed but asked: `probe` compares with the worker's own /tokenize.
"""
