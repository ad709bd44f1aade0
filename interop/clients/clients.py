"""Official Python clients and frameworks, as their users write them: `python clients.py NAME URL`.

Prints a JSON line for each step that it takes: its name, and what came of it. The key is the name of the
step, so that whoever listens in between can tell the tries of each.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

SAY = "Hello words=7"
USER = [{"role": "user", "content": SAY}]
TOOL_USER = [{"role": "user", "content": "use the tool words=3"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": PARAMETERS}}


def words(text):
    return len(text.split())


def take(name, step):
    """Take one step, and print what came of it."""
    began = time.monotonic()
    try:
        result = {"value": step(f"sk-{sys.argv[1]}-{name}")}
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is asked
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        result = {"error": type(error).__name__, "status": status, "text": str(error)[:300]}
    result["seconds"] = round(time.monotonic() - began, 2)
    print(json.dumps({"step": name, **result}), flush=True)


def refusals(ask):
    """What a client does where it is told to wait for 8 s, and where it is told to wait for a day."""

    def soon(key):
        for _ in range(3):  # two at once, then one in 8 s
            ask(key)
        return 3

    def never(key):
        ask(key)
        ask(key)

    take("soon", soon)
    take("never", never)


def openai_(url):
    import openai

    def client(key):
        return openai.OpenAI(base_url=f"{url}/v1", api_key=key)

    def chat(key):
        answer = client(key).chat.completions.create(model="m", messages=USER)
        return words(answer.choices[0].message.content)

    def stream(key):
        parts = client(key).chat.completions.create(model="m", messages=USER, stream=True)
        return words("".join(part.choices[0].delta.content or "" for part in parts))

    def tools(key):
        answer = client(key).chat.completions.create(model="m", messages=TOOL_USER, tools=[TOOL])
        return answer.choices[0].message.tool_calls[0].function.name

    take("chat", chat)
    take("stream", stream)
    take("tools", tools)
    take("responses", lambda key: words(client(key).responses.create(model="m", input=SAY).output_text))
    take("embeddings", lambda key: len(client(key).embeddings.create(model="m", input=["a", "b"]).data))
    take("models", lambda key: [model.id for model in client(key).models.list()])
    refusals(chat)


def anthropic_(url):
    import anthropic

    def client(key):
        return anthropic.Anthropic(base_url=url, api_key=key)

    def chat(key):
        answer = client(key).messages.create(model="m", max_tokens=99, messages=USER)
        return words(answer.content[0].text)

    def stream(key):
        with client(key).messages.stream(model="m", max_tokens=99, messages=USER) as parts:
            return words("".join(parts.text_stream))

    def tools(key):
        tool = {"name": "look", "description": "Looks.", "input_schema": PARAMETERS}
        answer = client(key).messages.create(model="m", max_tokens=99, messages=TOOL_USER, tools=[tool])
        return answer.content[0].name

    take("chat", chat)
    take("stream", stream)
    take("tools", tools)
    refusals(chat)


def google(url):
    from google import genai
    from google.genai import types

    def client(key):
        return genai.Client(api_key=key, http_options={"base_url": url})

    def chat(key):
        with client(key) as opened:
            return words(opened.models.generate_content(model="m", contents=SAY).text)

    def stream(key):
        with client(key) as opened:
            parts = opened.models.generate_content_stream(model="m", contents=SAY)
            return words("".join(part.text or "" for part in parts))

    def tools(key):
        look = types.FunctionDeclaration(name="look", description="Looks.", parameters_json_schema=PARAMETERS)
        config = {
            "tools": [types.Tool(function_declarations=[look])],
            "automatic_function_calling": {"disable": True},
        }
        with client(key) as opened:
            answer = opened.models.generate_content(model="m", contents="use the tool words=3", config=config)
        return answer.function_calls[0].name

    def asked_to_retry(key):
        options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=6))
        with genai.Client(api_key=key, http_options=options) as opened:
            for _ in range(3):
                opened.models.generate_content(model="m", contents=SAY)
        return 3

    take("chat", chat)
    take("stream", stream)
    take("tools", tools)
    refusals(chat)
    take("soon-asked", asked_to_retry)


def langchain(make):
    """Any chat model of LangChain."""

    def stream(key):
        return words("".join(part.text for part in make(key).stream(SAY)))

    def tools(key):
        tool = {"name": "look", "description": "Looks.", "parameters": PARAMETERS}
        return make(key).bind_tools([tool]).invoke("use the tool words=3").tool_calls[0]["name"]

    take("chat", lambda key: words(make(key).invoke(SAY).text))
    take("stream", stream)
    take("tools", tools)
    refusals(lambda key: make(key).invoke(SAY))


def langchain_openai(url):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    def embeddings(key):
        # Without the tokenizer that it would download.
        made = OpenAIEmbeddings(
            model="m", base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False
        )
        return len(made.embed_documents(["a", "b"]))

    take("embeddings", embeddings)
    langchain(lambda key: ChatOpenAI(model="m", base_url=f"{url}/v1", api_key=key))


def langchain_anthropic(url):
    from langchain_anthropic import ChatAnthropic

    langchain(lambda key: ChatAnthropic(model="m", base_url=url, api_key=key, max_tokens=99))


def langchain_google(url):
    from langchain_google_genai import ChatGoogleGenerativeAI

    langchain(lambda key: ChatGoogleGenerativeAI(model="m", base_url=url, api_key=key))


def llama_index(url):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    def model(key):
        return OpenAI(model="gpt-4o", api_base=f"{url}/v1", api_key=key)

    message = [ChatMessage(role="user", content=SAY)]
    take("chat", lambda key: words(model(key).chat(message).message.content))
    take("stream", lambda key: words("".join(part.delta or "" for part in model(key).stream_chat(message))))
    refusals(lambda key: model(key).chat(message))


def litellm_(url):
    import litellm

    def ask(key, **more):
        return litellm.completion(model="openai/m", api_base=f"{url}/v1", api_key=key, messages=USER, **more)

    take("chat", lambda key: words(ask(key).choices[0].message.content))
    take(
        "stream",
        lambda key: words("".join(part.choices[0].delta.content or "" for part in ask(key, stream=True))),
    )
    refusals(ask)


CLIENTS = {
    "openai-python": openai_,
    "anthropic-python": anthropic_,
    "google-genai-python": google,
    "langchain-openai-python": langchain_openai,
    "langchain-anthropic-python": langchain_anthropic,
    "langchain-google-python": langchain_google,
    "llama-index-python": llama_index,
    "litellm-python": litellm_,
}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2])
