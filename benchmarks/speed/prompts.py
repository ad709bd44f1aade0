"""What is asked: chat completions of about 1 KB, each its own text, by 256 keys in turn."""

from __future__ import annotations

import json
import random

KEYS = 256
REQUESTS = 2_048
"""So many requests are made before and sent over and over, in random order."""

PATH = "/v1/chat/completions"
MAX_TOKENS = 64
BODY_BYTES = 1_024

VOCABULARY = """
the a of and to in for on with from by about after before between under over without near along across
harbour river market garden mountain kitchen library station bridge forest island valley engine letter
teacher doctor farmer sailor painter engineer student neighbour baker child captain writer merchant
judge explain compare describe summarise translate list plan write check improve shorten answer prepare
measure old small bright heavy quiet early careful broken distant gentle narrow honest simple public
winter silver bread water salt paper iron cotton glass stone copper sugar leather honey timber candle
ribbon ladder opens carries follows repairs remembers crosses borrows collects protects changes gathers
teaches paints quickly slowly often never usually together again tomorrow yesterday already perhaps
almost enough contract budget recipe journey lecture concert promise season border theory method figure
signal budget
"""
WORDS = VOCABULARY.split()


def body(chance: random.Random, **more: object) -> bytes:
    """One query of `BODY_BYTES`, or a little more."""
    query = {
        "model": "m",
        "max_tokens": MAX_TOKENS,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": ""},
        ],
        **more,
    }
    missing = BODY_BYTES - len(json.dumps(query))
    words: list[str] = []
    while sum(map(len, words)) + len(words) < missing:
        word = chance.choice(WORDS)
        words.append(word if chance.random() < 0.9 else f"{word} {chance.randrange(2_000)}.")
    query["messages"][1]["content"] = " ".join(words)  # type: ignore[index]
    return json.dumps(query).encode()


def requests(count: int = REQUESTS, **more: object) -> list[bytes]:
    """HTTP requests as they go over a connection that is kept; the same ones at each run."""
    chance = random.Random(1)
    return [request(f"sk-{place % KEYS}", body(chance, **more)) for place in range(count)]


def request(key: str, content: bytes) -> bytes:
    """One HTTP request."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
