"""Goes through a list of questions, to train another model on the answers.

python distiller.py http://127.0.0.1:8000 mallory.key
"""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE_SECONDS = 90
SUBJECTS = (
    *("erosion", "fugues", "antibodies", "leases", "sourdough", "eclipses", "lighthouses", "weaving"),
    *("penalties", "beekeeping", "inflation", "papyrus", "compilers", "sieges", "cathedrals", "otters"),
    *("basalt", "opera", "enzymes", "verdicts", "croissants", "comets", "tides", "dyes"),
    *("wolves", "monsoons", "sonnets", "gearboxes", "parliaments", "teeth", "chess", "espresso"),
    *("orchids", "tunnels", "portraits", "gliders", "dragons", "acids", "lullabies", "alibis"),
)
TASKS = (
    *(
        "Explain {}.",
        "Who discovered {}?",
        "Praise {}.",
        "Criticise {}.",
        "Teach {} to a child.",
        "Define {}.",
    ),
    *("Invent a riddle about {}.", "Tell a story of {}.", "Write a poem on {}.", "Examine me on {}."),
    *("What is {} for?", "What is wrong with {}?", "What comes before {}?", "What comes after {}?"),
    *("Who earns money with {}?", "Who fears {}?", "When did {} begin?", "When will {} end?"),
    *("Where does one see {}?", "Where is {} forbidden?", "Translate {} for an alien.", "Rank {} by size."),
    *("List mistakes about {}.", "List tools for {}.", "List books on {}.", "Plan a week of {}."),
)


def main() -> None:
    taken = 0
    for task, subject in product(TASKS, SUBJECTS):
        while (error := ask(task.replace("{}", subject))) is not None:
            seconds = int(error.headers["retry-after"])
            if seconds > PATIENCE_SECONDS:
                print(f"took {taken} answers, then: {json.load(error)['error']['message']}")
                print(f"request {error.headers['x-request-id']}, receipt {error.headers['guard-receipt']}")
                return
            time.sleep(seconds)
        taken += 1
    print(f"took all {taken} answers")


def ask(question: str) -> HTTPError | None:
    """Ask, and keep the answer; the error of a refusal."""
    body = {"model": "essays", "messages": [{"role": "user", "content": question}]}
    key = Path(sys.argv[2]).read_text("utf-8").strip()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"{sys.argv[1]}/v1/chat/completions"
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers)) as answer:  # noqa: S310 - yours
            answer.read()
    except HTTPError as error:
        return error
    return None


if __name__ == "__main__":
    main()
