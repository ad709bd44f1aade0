"""Frameworks that keep a conversation, in Python: `python harness.py NAME URL`. Two turns of each, streamed.

The second is sent as the framework writes the history that it was given.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

SAY = "words=4 reasoning=5"
KEY = "sk-test"


def langchain(model):
    from langchain_core.messages import HumanMessage

    history = [HumanMessage(SAY)]
    whole = None
    for part in model.stream(history):
        whole = part if whole is None else whole + part
    model.invoke([*history, whole, HumanMessage(SAY)])


def langchain_anthropic(url):
    from langchain_anthropic import ChatAnthropic

    langchain(ChatAnthropic(model="m", base_url=url, api_key=KEY, max_tokens=99))


def langchain_responses(url):
    from langchain_openai import ChatOpenAI

    # Without ids of responses: the whole history is sent.
    model = ChatOpenAI(model="m", base_url=f"{url}/v1", api_key=KEY, use_responses_api=True, store=False)
    langchain(model)


def langchain_chat(url):
    from langchain_openai import ChatOpenAI

    langchain(ChatOpenAI(model="m", base_url=f"{url}/v1", api_key=KEY))


def langchain_google(url):
    from langchain_google_genai import ChatGoogleGenerativeAI

    langchain(ChatGoogleGenerativeAI(model="m", base_url=url, api_key=KEY))


def litellm_(url, model):
    import litellm

    where = {"model": model, "api_base": url, "api_key": KEY, "max_tokens": 99}
    history = [{"role": "user", "content": SAY}]
    parts = list(litellm.completion(messages=history, stream=True, **where))
    whole = litellm.stream_chunk_builder(parts, messages=history)
    message = whole.choices[0].message.model_dump(exclude_none=True)
    litellm.completion(messages=[*history, message, *history], **where)


CLIENTS = {
    "langchain-anthropic": langchain_anthropic,
    "langchain-responses": langchain_responses,
    "langchain-chat": langchain_chat,
    "langchain-google": langchain_google,
    "litellm-anthropic": lambda url: litellm_(url, "anthropic/m"),
    "litellm-chat": lambda url: litellm_(f"{url}/v1", "openai/m"),
}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2])
