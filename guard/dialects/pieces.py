"""What an answer says: the strings in it, whatever their shape, and what stands for text that is not shown.

    {"delta": {"role": "assistant", "content": "word"}}      the text "word"
    {"type": "signature_delta", "signature": "Eq…"}          a seal: about as long as what is hidden in it
    {"inlineData": {"mimeType": "image/png", "data": "iV…"}}  an image: a token for 256 bytes, 1,000 at most

A string that is none of a few control fields counts, under whatever name it stands.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from guard.sealing.seal import is_blob

CONTROL = frozenset(
    {
        *("type", "role", "id", "object", "status", "format", "model", "modelVersion", "created_at"),
        *("finish_reason", "finishReason", "native_finish_reason", "stop_reason", "stop_sequence"),
        *(
            "done_reason",
            "logprobs",
            "logprobsResult",
            "annotation",
            "annotations",
            "obfuscation",
            "provider",
        ),
        *("system_fingerprint", "service_tier", "mimeType", "mime_type", "media_type", "language"),
        *("remote_model", "remote_host", "expires_at", "error", "usage", "index"),
    }
)
"""Names of what is no text of the model: kinds, reasons, and what describes the answer."""

SEAL = "signature"
SEALS = frozenset({SEAL, "encrypted_content", "thoughtSignature", "thought_signature"})
_OLLAMAS = "thinking"
"""Where Ollama's clients have what guard has sealed."""
_MEDIA = frozenset({"data", "b64_json", "result", "partial_image_b64", "url", "image_url", "images"})
"""Names under which base64 is no text; what is not base64 there is text."""

_ID = re.compile(r"(?:.*_)?(?:id|ids)|.*[a-z]I[dD]")
_ID_ENDS = frozenset("dDs")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_:;,-]*")
_HIDES = ("redacted", "encrypted")
_SEAL_BYTES = 4
_MEDIA_BYTES = 256
_MOST_MEDIA = 1_000


class Pieces(NamedTuple):
    """The texts in a value, and how many tokens stand behind what is no text."""

    texts: tuple[str, ...]
    opaque: int


def pieces(value: object) -> Pieces:
    """What there is in a JSON value, but the control fields."""
    texts: list[str] = []
    opaque = 0
    left: list[tuple[str, object]] = [("", value)]
    for name, each in left:  # which grows
        if isinstance(each, str):
            tokens = opaque_tokens(name, each)
            if tokens is None:
                texts.append(each)
            else:
                opaque += tokens
        elif isinstance(each, dict):
            for key, item in each.items():
                if key in CONTROL or is_id(key):
                    continue
                left.append((SEAL if key == "data" and hides(each) else key, item))
        elif isinstance(each, list):
            left += ((name, item) for item in each)
    return Pieces(tuple(texts), opaque)


def is_id(name: str) -> bool:
    """Whether what stands under this name is an id, or ids."""
    return name[-1:] in _ID_ENDS and _ID.fullmatch(name) is not None


def may_be_opaque(name: str) -> bool:
    """Whether a string under this name may count otherwise than by its text."""
    return name in SEALS or name in _MEDIA or is_id(name)


def opaque_tokens(name: str, text: str) -> int | None:
    """About how many tokens stand behind a string of this name, `None` where it is text."""
    if (name in SEALS or name == _OLLAMAS) and is_blob(text) and _BASE64.fullmatch(text):
        return 0  # sealed by guard: the client will never read it
    if (name in SEALS or name in _MEDIA) and _BASE64.fullmatch(text):
        return blob_tokens(text, sealed=name in SEALS)
    return None


def hides(fields: dict[str, object]) -> bool:
    """Whether what an object has as `data` is a seal."""
    kind = str(fields.get("type"))
    return any(word in kind for word in _HIDES)


def blob_tokens(blob: str, *, sealed: bool = False) -> int:
    """About how many tokens a model has made for what comes as base64: a seal is text that is hidden."""
    if sealed:
        return -(-len(blob) // _SEAL_BYTES)
    return media_tokens(len(blob))


def media_tokens(size: int) -> int:
    """Likewise, for so many bytes of base64 that are no text."""
    return min(-(-size // _MEDIA_BYTES), _MOST_MEDIA)
