"""Odd requests, by what of them could be read in two ways.

Each is right if guard refuses it, or if the backend reads what guard judged: a path of a route, the model
`cheap` and never `dear`, a cap that the limits have room for, the credential that was counted. Those marked
`honest` must arrive.
"""

from __future__ import annotations

import gzip
import json
from urllib.parse import quote

from interop.wire import JSON, KEY, Odd, chat

HUGE = 50_000_000
"""More tokens than any limit here has room for."""

DEAR = chat("dear")

GEMINI = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()

PATHS = (
    Odd("chat", honest=True),
    Odd("models", "/v1/models", "GET", body=b"", honest=True),
    Odd("one model", "/v1/models/cheap", "GET", body=b"", honest=True),
    *(
        Odd(f"GET {target}", target, "GET", (KEY,), b"")
        for target in (
            "/v1/models/../../admin/keys",
            "/v1/models/..%2f..%2fadmin/keys",
            "/v1/models/%2e%2e/%2e%2e/admin/keys",
            "/v1/models/.%2e/..%2Fadmin/keys",
            "/v1/models/..%5c..%5cadmin/keys",
            "/v1/models/..\\..\\admin\\keys",
            "/v1/models/%252e%252e/%252e%252e/admin/keys",
            "/v1/models/..;/..;/admin/keys",
            "/v1/models/;/../../admin/keys",
            "/v1/models/x/../../../admin/keys",
            "/v1/models//../../admin/keys",
            "/v1/models/./../../admin/keys",
            "/v1/models/..%c0%af..%c0%afadmin/keys",
            "/v1/models/%c0%ae%c0%ae/%c0%ae%c0%ae/admin/keys",
            "/v1/models/..%00/../admin/keys",
            "/v1/models/%00",
            "/v1/models/x%0d%0aX-Injected:%201",
            "/v1/models/x%20HTTP/1.1%0d%0aHost:%20y",
            "/v1/models/..%ef%bc%8f..%ef%bc%8fadmin",
            "/v1/models/x#/../../admin/keys",
            "/v1/models/x%23/../../admin/keys",
            "/v1/models/x%3f/../../../admin/keys",
            "/v1/models/..?/../../admin/keys",
            "/v1/models/.. /.. /admin",
            "/v1/models/..%20/..%20/admin/keys",
            "/v1/models/..%09/..%09/admin/keys",
            "/v1/models/../../admin/keys/../../v1/models/x",
            "/v1/models/x/..",
            "/v1/models/x/.",
            "/v1/models/..",
            "/v1/models/...",
            "/v1/models/",
            "/v1/models//",
            "/admin/../v1/models",
            "/admin/keys/..%2f../v1/models/x",
            "/admin",
            "/ADMIN/keys",
            "//admin/keys",
            "/./admin/keys",
            "//v1/models",
            "/v1//models",
            "/v1/./models",
            "/v1/models%2f",
            "/v1%2fmodels",
            "/V1/MODELS",
            "/v1/models.",
            "/v1/models;a=b",
            "/v1/models%3ba=b",
            "/v1/m%6fdels",
            "http://elsewhere.example/admin/keys",
            "http://elsewhere.example/v1/models/../../admin/keys",
            "http:/admin/keys",
            "http:admin/keys",
            "//elsewhere.example/admin/keys",
            "*",
            "v1/models",
            "../admin/keys",
            "?/admin/keys",
            "/v1/models/caf\xe9",
            "/v1/models/\x00",
            "/v1/models/%",
            "/v1/models/%zz",
            "/v1/models/%u002e%u002e/admin",
            "/v1beta/models/../../admin/keys",
            "/v1beta/models/..%2f..%2fadmin%2fkeys",
            "/v1/responses/../../admin/keys",
            "/v1/responses/..%2f..%2fadmin%2fkeys",
        )
    ),
    *(
        Odd(f"POST {target}", target, body=GEMINI)
        for target in (
            "/v1beta/models/../../admin/keys:generateContent",
            "/v1beta/models/..%2f..%2fadmin/keys:generateContent",
            "/v1beta/models/x/../../../admin:generateContent",
            "/v1beta/models/x%3fy:generateContent",
            "/v1beta/models/x%23y:generateContent",
            "/v1/models/..%2f..%2fadmin%2fkeys:countTokens",
            "/v1beta/models/dear%3agenerateContent",
            "/v1beta/models/dear:generateContent%20",
            "/v1beta/models/cheap:generateContent/../dear:generateContent",
        )
    ),
    *(
        Odd(f"POST {target} for the dear model", target, body=DEAR)
        for target in (
            "//v1/chat/completions",
            "/v1//chat/completions",
            "/v1/chat/completions/",
            "/V1/Chat/Completions",
            "/v1/chat/Completions",
            "/v1/chat/./completions",
            "/v1/x/../chat/completions",
            "/v1/chat%2fcompletions",
            "/v1/chat/completions%20",
            "/v1/chat/completions%00",
            "/v1/chat/completions;x",
            "/v1/chat/complet%69ons",
            "/%76%31/chat/completions",
            "/v1/chat/completions%2e",
            "/v1/chat/completions.",
            "/v1\\chat\\completions",
            "/v1/chat/completions%2f",
            "/v1/chat/completions#x",
            "http://elsewhere.example/v1/chat/completions",
            "http://elsewhere.example//v1/chat/completions",
            "/chat/completions",
            "/engines/dear/chat/completions",
            "/openai/deployments/dear/chat/completions",
        )
    ),
)

FORM = "application/x-www-form-urlencoded"
_SPLIT = (
    b'{"model":"cheap","max_tokens":1,"messages":[{"role":"user","content":"&model=dear&max_tokens=%d&z="}]}'
    % HUGE
)
_MULTIPART = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ndear\r\n'
    b'--b\r\ncontent-disposition: form-data; name="max_tokens"\r\n\r\n%d\r\n--b--\r\n' % HUGE
)
_UTF7 = b'{"model":"cheap","messages":[{"role":"user","content":"+ACIAfQBd-"}],"+AG0AbwBkAGUAbA-":"dear"}'


def _typed(
    name: str,
    *values: str,
    body: bytes | None = None,
    honest: bool = False,
    also: tuple[tuple[str, str], ...] = (),
) -> Odd:
    headers = (KEY, *(("content-type", value) for value in values), *also)
    return Odd(name, headers=headers, body=chat() if body is None else body, honest=honest)


CONTENT_TYPES = (
    _typed("no content type", honest=True),
    _typed("json with charset", "application/json; charset=utf-8", honest=True),
    _typed("json with quoted charset", 'application/json; charset="UTF-8"', honest=True),
    _typed("json in capitals", "Application/JSON", honest=True),
    _typed("json with another parameter", "application/json;a=b"),
    _typed("json with a parameter without a value", "application/json;"),
    _typed("a json type of its own", "application/vnd.api+json"),
    *(
        _typed(f"split body as {kind!r}", kind, body=_SPLIT)
        for kind in (
            FORM,
            FORM.upper(),
            f" {FORM} ",
            f"{FORM}; charset=utf-8",
            f"{FORM};application/json",
            f"application/json, {FORM}",
            f"{FORM}, application/json",
            f"{FORM}+json",
            f"text/plain; {FORM}",
            "text/plain",
            "text/json",
            "*/*",
            "application/json\t",
            "application/json/x",
            "application/octet-stream",
            "multipart/form-data",
            "multipart/form-data; boundary=b",
            "",
            ";",
            "json",
            "application/x-ndjson",
        )
    ),
    _typed("json, then form", "application/json", FORM, body=_SPLIT),
    _typed("form, then json", FORM, "application/json", body=_SPLIT),
    _typed("json twice", "application/json", "application/json", body=_SPLIT),
    _typed("multipart", "multipart/form-data; boundary=b", body=_MULTIPART),
    _typed("multipart called json", "application/json; boundary=b", body=_MULTIPART),
    _typed(
        "utf-16 called so", "application/json; charset=utf-16", body=chat("dear").decode().encode("utf-16")
    ),
    _typed(
        "utf-16le called so",
        "application/json; charset=utf-16le",
        body=chat("dear").decode().encode("utf-16-le"),
    ),
    _typed("utf-8 called utf-16", "application/json; charset=utf-16"),
    _typed(
        "utf-16 called utf-8", "application/json; charset=utf-8", body=chat("dear").decode().encode("utf-16")
    ),
    _typed("utf-16 called nothing", "application/json", body=chat("dear").decode().encode("utf-16-le")),
    _typed("utf-32 called nothing", "application/json", body=chat("dear").decode().encode("utf-32")),
    _typed("utf-7", "application/json; charset=utf-7", body=_UTF7),
    _typed("latin-1", "application/json; charset=iso-8859-1", body=_UTF7),
    _typed("two charsets", "application/json; charset=utf-8; charset=utf-7", body=_UTF7),
    _typed("charset*", "application/json; charset*=utf-8''utf-7", body=_UTF7),
    _typed("utf-8 with a byte order mark", "application/json", body=b"\xef\xbb\xbf" + chat("dear")),
    *(
        _typed(
            f"gzip as content-encoding {codings}",
            "application/json",
            body=gzip.compress(DEAR),
            also=tuple(("content-encoding", c) for c in codings),
        )
        for codings in (
            ("gzip",),
            ("gzip", "identity"),
            ("identity", "gzip"),
            ("identity, gzip",),
            ("x-gzip",),
            ("GZIP",),
            ("", "gzip"),
            ("identity;gzip",),
        )
    ),
    *(
        _typed(
            f"plain as content-encoding {codings}",
            "application/json",
            also=tuple(("content-encoding", c) for c in codings),
        )
        for codings in (("identity",), ("identity", "identity"), ("deflate",), ("br",), ("aws-chunked",))
    ),
    _typed("content_type beside it", "application/json", body=_SPLIT, also=(("content_type", FORM),)),
    Odd("a method in a form field", headers=(KEY, ("content-type", FORM)), body=b"_method=DELETE&model=dear"),
)

BODIES = tuple(
    Odd(name, body=body)
    for name, body in {
        "model twice": b'{"model":"cheap","model":"dear","messages":[]}',
        "model and Model": b'{"model":"cheap","Model":"dear","messages":[]}',
        "model escaped": b'{"model":"cheap","mod\\u0065l":"dear","messages":[]}',
        "models": chat(models=["dear", "cheap"]),
        "fallbacks": chat(fallbacks=["dear"]),
        "fallbacks of dicts": chat(fallbacks=[{"model": "dear"}]),
        "context_window_fallbacks": chat(context_window_fallbacks=[{"cheap": ["dear"]}]),
        "content_policy_fallbacks": chat(content_policy_fallbacks=[{"cheap": ["dear"]}]),
        "fallbacks, and a failure": chat(fallbacks=["dear"], mock_testing_fallbacks=True),
        "fallbacks of a model that fails": chat("broken", fallbacks=["dear"]),
        "fallbacks, as dicts, of a model that fails": chat("broken", fallbacks=[{"model": "dear"}]),
        "fallbacks by name of a model that fails": chat("broken", fallbacks=[{"broken": ["dear"]}]),
        "context_window_fallbacks of a model that fails": chat(
            "broken", context_window_fallbacks=[{"broken": ["dear"]}], mock_testing_context_fallbacks=True
        ),
        "extra_body": chat(extra_body={"model": "dear"}),
        "litellm_params": chat(litellm_params={"model": "dear"}),
        "model_list": chat(model_list=["dear"]),
        "model_info": chat(model_info={"id": "dear"}),
        "deployment_id": chat(deployment_id="dear"),
        "engine": chat(engine="dear"),
        "specific_deployment": chat(specific_deployment=True, model="dear"),
        "api_base": chat(api_base="http://127.0.0.1:1/"),
        "api_key": chat(api_key="sk-other"),
        "user_config": chat(
            user_config={
                "model_list": [
                    {
                        "model_name": "cheap",
                        "litellm_params": {
                            "model": "openai/dear",
                            "mock_response": "MODEL=dear",
                            "api_key": "x",
                        },
                    }
                ]
            }
        ),
        "mock_response": chat(mock_response="MODEL=dear"),
        "metadata.model": chat(metadata={"model_group": "dear"}),
        "router_settings_override": chat(router_settings_override={"model_group_alias": {"cheap": "dear"}}),
        "router_settings_override.fallbacks of a model that fails": chat(
            "broken", router_settings_override={"fallbacks": [{"broken": ["dear"]}]}
        ),
        "router_settings_override.model_group_alias": chat(
            router_settings_override={"model_group_alias": {"cheap": "dear"}}
        ),
        "model_group_alias": chat(model_group_alias={"cheap": "dear"}),
        "batch of models by a comma": chat("cheap,dear"),
        "model with a space": chat(" dear"),
        "model with a newline": chat("dear\n"),
        "model in capitals": chat("DEAR"),
        "model with a NUL": chat("dear\0"),
        "model is a list": chat(["dear"]),  # type: ignore[arg-type]
        "model is a dict": chat({"id": "dear"}),  # type: ignore[arg-type]
        "a provider before the model": chat("openai/dear"),
        "max_tokens as a float": b'{"model":"cheap","max_tokens":5e7,"messages":[]}',
        "max_tokens as text": chat(max_tokens=str(HUGE)),
        "max_tokens twice": b'{"model":"cheap","max_tokens":1,"max_tokens":%d,"messages":[]}' % HUGE,
        "Max_Tokens": chat(Max_Tokens=HUGE),
        "max_completion_tokens": chat(max_completion_tokens=HUGE),
        "n": chat(n=HUGE),
        "extra_body.max_tokens": chat(extra_body={"max_tokens": HUGE}),
        "a comment": b'{"model":"cheap"/*,"x":"*/,"messages":[]}',
        "a comma at the end": b'{"model":"cheap","messages":[],}',
        "two documents": chat() + DEAR,
        "two documents on two lines": chat() + b"\n" + DEAR,
        "a prefix": b")]}'," + DEAR,
        "spaces before": b" \r\n\t" + DEAR,
        "a form feed before": b"\x0c" + DEAR,
        "a NUL after": DEAR + b"\0",
        "an unpaired surrogate": b'{"model":"de\\ud800ar","messages":[]}',
        "raw bytes that are not UTF-8": b'{"model":"de\xffar","messages":[]}',
        "__proto__": b'{"__proto__":{"model":"dear"},"model":"cheap","messages":[]}',
        "constructor": b'{"constructor":{"prototype":{"model":"dear"}},"messages":[]}',
    }.items()
)


def _keys(
    name: str, *headers: tuple[str, str | bytes], target: str = "/v1/chat/completions", honest: bool = False
) -> Odd:
    return Odd(name, target, headers=(*headers, JSON), honest=honest)


JUNK = ("authorization", "Bearer junk")

CREDENTIALS = (
    # With the real key shut at guard, none of these may reach a backend that would find it there.
    _keys("as it is", KEY),
    *(
        _keys(f"junk, and the real one as {name}", JUNK, (name, "sk-real"))
        for name in (
            "x-litellm-api-key",
            "X-LiteLLM-API-Key",
            "x-litellm-key",
            "api-key",
            "Api-Key",
            "x-api-key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x_api_key",
            "x_litellm_api_key",
            "api_key",
            "proxy-authorization",
        )
    ),
    *(
        _keys(f"the real one as {name} alone", (name, "sk-real"))
        for name in (
            "x-litellm-api-key",
            "api-key",
            "x-api-key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x_api_key",
            "api_key",
        )
    ),
    _keys("x-litellm-api-key with a scheme", JUNK, ("x-litellm-api-key", "Bearer sk-real")),
    *(
        _keys(f"Connection: {named} takes the junk away", JUNK, ("connection", named), (other, "sk-real"))
        for named in (
            "authorization",
            "close, authorization",
            "Authorization, close",
            "close,\tauthorization",
        )
        for other in ("api-key", "x-api-key", "x-litellm-api-key")
    ),
    *(
        _keys(f"authorization: {value!r}", ("authorization", value))
        for value in (
            "Bearer  sk-real",
            "Bearer\tsk-real",
            "bearer sk-real",
            "BEARER sk-real",
            "Bearer sk-Bearer real",
            "Bearer Bearer sk-real",
            "Bearer bearer sk-real",
            "Bearer sk-real ",
            "Bearer sk-real\t",
            "Bearer sk-real, Bearer junk",
            "Bearer junk, Bearer sk-real",
            "Bearer sk-real,",
            "Bearer sk-real;",
            'Bearer "sk-real"',
            "Bearer sk-real junk",
            "Bearer junk sk-real",
            "Bearer sk-real\x0b",
            "Bearer sk-real\xa0",
            "sk-real",
            "Token sk-real",
            "Key sk-real",
            "Basic c2stcmVhbDo=",
            "Basic OnNrLXJlYWw=",
            "AWS4-HMAC-SHA256 Credential=Bearer sk-real",
            "Bearer=sk-real",
            "Bearer:sk-real",
            "Bearersk-real",
            "Bearer%20sk-real",
        )
    ),
    _keys("authorization twice, junk first", JUNK, KEY),
    _keys("authorization twice, real first", KEY, JUNK),
    _keys("authorization, and authorization_", JUNK, ("authorization_", "Bearer sk-real")),
    _keys("a folded header", ("authorization", b"Bearer junk\r\n sk-real")),
    _keys("an empty one, then the real", ("authorization", ""), ("x-api-key", "sk-real")),
    _keys("a space before the colon", ("authorization ", "Bearer sk-real")),
    *(
        Odd(
            f"a key in the query of Gemini, {'with junk' if headers else 'alone'}",
            "/v1beta/models/cheap:generateContent?key=sk-real",
            headers=(*headers, JSON),
            body=GEMINI,
        )
        for headers in ((), (("x-goog-api-key", "junk"),))
    ),
    _keys("a name with a NUL", JUNK, ("x-api-key\x00", "sk-real")),
    *(
        _keys(f"a key in the query: {query}", *headers, target=f"/v1/chat/completions?{query}")
        for headers in ((), (JUNK,))
        for query in (
            "key=sk-real",
            "api_key=sk-real",
            "api-key=sk-real",
            "%6bey=sk-real",
            "x=1;key=sk-real",
            "x=1&key=sk-real",
            "key=junk&key=sk-real",
            "key[]=sk-real",
            "access_token=sk-real",
            "token=sk-real",
        )
    ),
)

QUERIES = tuple(
    Odd(f"?{query}", f"/v1/chat/completions?{query}")
    for query in (
        "model=dear",
        "%6dodel=dear",
        "model[]=dear",
        "x=1;model=dear",
        "x&model=dear",
        "?model=dear",
        "model=cheap&model=dear",
        "MODEL=dear",
        "model=dear%00",
        f"max_tokens={HUGE}",
        "api-version=2024-02-01&model=dear",
        "__proto__[model]=dear",
        "_method=DELETE",
        "#model=dear",
        quote("model=dear"),
    )
)

METHODS = (
    *(
        Odd(
            f"{method} with {name}: {value}",
            "/v1beta/models/cheap",
            method,
            (KEY, JSON, (name, value)),
            chat("dear", max_tokens=HUGE),
        )
        for method in ("GET", "POST")
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override")
        for value in ("POST", "DELETE")
    ),
    Odd("GET with a body", "/v1/models", "GET", body=DEAR),
    Odd(
        "GET of a :generateContent with POST in a header",
        "/v1beta/models/dear:generateContent",
        "GET",
        (KEY, JSON, ("X-HTTP-Method-Override", "POST")),
        DEAR,
    ),
    *(
        Odd(f"{name}: /admin/keys", headers=(KEY, JSON, (name, "/admin/keys")))
        for name in (
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Forwarded-Prefix",
            "X-Forwarded-Path",
            "X-Script-Name",
        )
    ),
    *(
        Odd(f"{method} on chat", method=method, body=DEAR)
        for method in (
            "PUT",
            "PATCH",
            "GET",
            "DELETE",
            "OPTIONS",
            "post",
            "Post",
            "POST\t",
            "TRACE",
            "PROPFIND",
        )
    ),
    Odd("x-litellm-model: dear", headers=(KEY, JSON, ("x-litellm-model", "dear"))),
    Odd("HEAD of the models", "/v1/models", "HEAD", body=b""),
    Odd("CONNECT", "admin:80", "CONNECT", body=b""),
    Odd("HTTP/1.0", version="1.0", honest=True),
    Odd("HTTP/2.0 in words", version="2.0"),
    Odd("HTTP/1.9", version="1.9"),
)

_CHUNKED = b"transfer-encoding: chunked"
_SMUGGLED = b"GET /admin/keys HTTP/1.1\r\nhost: x\r\n\r\n"


def _chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"%x\r\n%s\r\n%s" % (len(body), body, end)


def _framed(name: str, framing: bytes, body: bytes, *, honest: bool = False) -> Odd:
    return Odd(name, framing=framing, body=body, honest=honest)


FRAMINGS = (
    _framed("chunked", _CHUNKED, _chunked(chat()), honest=True),
    _framed("chunked with an extension", _CHUNKED, _chunked(chat()).replace(b"\r\n", b";a=b\r\n", 1)),
    _framed(
        "a trailer that names a caller",
        _CHUNKED,
        _chunked(chat(), b"0\r\nx-user-id: admin\r\nx-api-key: sk-real\r\n\r\n"),
    ),
    _framed(
        "a trailer that names a type",
        _CHUNKED,
        _chunked(_SPLIT, b"0\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n"),
    ),
    _framed(
        "a trailer that names a path",
        _CHUNKED,
        _chunked(chat(), b"0\r\nx-original-url: /admin\r\nx-http-method-override: DELETE\r\n\r\n"),
    ),
    *(
        _framed(f"smuggled by {framing!r}", framing, _chunked(chat()) + _SMUGGLED)
        for framing in (
            _CHUNKED + b"\r\ncontent-length: 4",
            b"content-length: 4\r\n" + _CHUNKED,
            _CHUNKED + b"\r\n" + _CHUNKED,
            b"transfer-encoding: chunked, chunked",
            b"transfer-encoding: identity, chunked",
            b"transfer-encoding: chunked, identity",
            b"transfer-encoding: xchunked\r\ncontent-length: 4",
            b"transfer-encoding : chunked\r\ncontent-length: 4",
            b"transfer-encoding:\tchunked\r\ncontent-length: 4",
            b'transfer-encoding: "chunked"\r\ncontent-length: 4',
            b"transfer_encoding: chunked\r\ncontent-length: 4",
            b"Transfer-Encoding: CHUNKED\r\ncontent-length: 4",
            b" transfer-encoding: chunked\r\ncontent-length: 4",
            b"x: y\r\n transfer-encoding: chunked\r\ncontent-length: 4",
        )
    ),
    *(
        _framed(f"lengths {framing!r}", framing, chat() + _SMUGGLED)
        for size in (len(chat()),)
        for framing in (
            b"content-length: %d\r\ncontent-length: %d" % (size, size + len(_SMUGGLED)),
            b"content-length: %d\r\ncontent-length: %d" % (size, size),
            b"content-length: %d, %d" % (size, size),
            b"content-length: +%d" % size,
            b"content-length: %d " % size,
            b"content-length: 0x%x" % size,
            b"content-length: %d_0" % size,
            b"content-length: -1",
            b"content-length: 0%d" % size,
            b"content-length:\x0b%d" % size,
            b"content_length: 4\r\ncontent-length: %d" % size,
            b"",
        )
    ),
    _framed("chunk sizes with a sign", _CHUNKED, b"+" + _chunked(chat())),
    _framed("chunk sizes with 0x", _CHUNKED, b"0x" + _chunked(chat())),
    _framed("chunks ended by a bare newline", _CHUNKED, _chunked(chat()).replace(b"\r\n", b"\n")),
    Odd(
        "h2c",
        headers=(
            KEY,
            JSON,
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ),
        honest=True,
    ),
    Odd("an unknown upgrade", headers=(KEY, JSON, ("connection", "upgrade"), ("upgrade", "foo/2"))),
    Odd("expect", headers=(KEY, JSON, ("expect", "100-continue")), honest=True),
    Odd("two hosts", headers=(KEY, JSON, ("host", "admin.example"))),
)

SHARED: dict[str, tuple[Odd, ...]] = {
    "paths": PATHS,
    "content types": CONTENT_TYPES,
    "bodies": BODIES,
    "queries": QUERIES,
    "methods": METHODS,
    "framings": FRAMINGS,
}
"""What is sent while the real key is open."""
