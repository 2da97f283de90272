"""Records a worker's own tokens of cases.py into tests/fixtures/tokens (run by hand).

    vllm launch render MODEL --served-model-name m --port 18231 --enable-auto-tool-choice \\
        --tool-call-parser hermes [--chat-template tests/fixtures/tokens/agent.jinja]
    python -m tests.tokens.record 18231 agent

MODEL is the folder tests/fixtures/tokenizer, unpacked.
"""

import http.client
import json
import sys
from pathlib import Path
from typing import Any

from tests.tokens.cases import cases

FOLDER = Path(__file__).parents[1] / "fixtures" / "tokens"
PATHS = {
    "tokenize": "/tokenize",
    "chat": "/v1/chat/completions/render",
    "completions": "/v1/completions/render",
    "responses": "/v1/responses/render",
    "messages": "/v1/messages/render",
}


def main(port: int, name: str) -> None:
    worker = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with (FOLDER / f"{name}.jsonl").open("w") as out:
        for endpoint, body in cases("m"):
            worker.request("POST", PATHS[endpoint], body, {"content-type": "application/json"})
            answer = worker.getresponse()
            told = json.loads(answer.read())
            ids = _ids(told) if answer.status == 200 else None
            why = told["error"]["message"][:90] if answer.status != 200 else None
            out.write(
                json.dumps({"endpoint": endpoint, "body": body.decode(), "ids": ids, "why": why}) + "\n"
            )


def _ids(told: Any) -> list[int] | None:
    """The first list of token ids in an answer."""
    if isinstance(told, dict):
        for key in ("token_ids", "tokens"):
            if isinstance(told.get(key), list):
                return told[key]
    inner = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return next((found for one in inner if (found := _ids(one)) is not None), None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
