"""A model API of your own, with guard in front of it. The model writes an essay on whatever it is asked.

uvicorn app:app --port 8000 --no-proxy-headers
"""

from __future__ import annotations

import random
import re
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from guard import GuardMiddleware

app = FastAPI(title="A model that writes essays")
app.add_middleware(GuardMiddleware, config="guard.toml")

SENTENCES = 40
FORMS = (
    "The {} of a {} depends on its {} and on the {} around it.",
    "Most accounts of {} begin with {}, although {} came before {}.",
    "A {} without {} soon turns into {}, as every {} knows.",
    "Where {} meets {}, the {} decides what becomes of the {}.",
    "People once took {} for {}; today a {} is told from a {} at a glance.",
)
STEMS = (
    "granite magma fault quartz erosion mantle crater basalt sediment glacier",
    "sonata violin chorus tempo fugue melody drum opera chord harmony",
    "enzyme cell protein membrane nucleus virus tissue antibody hormone gene",
    "lease tenant contract clause verdict witness statute appeal damages court",
    "dough yeast oven butter flour crust pastry vanilla sugar kneading",
    "orbit comet telescope galaxy eclipse asteroid nebula gravity planet star",
    "sail harbour anchor tide captain mast rudder voyage lighthouse current",
    "loom wool cotton weaver dye needle linen silk thread pattern",
    "goalkeeper penalty stadium referee league striker tackle trophy coach pitch",
    "orchard beehive pollen harvest tractor barley compost seedling furrow meadow",
    "inflation interest bond dividend ledger auditor mortgage currency tariff market",
    "pharaoh temple scribe papyrus dynasty tomb pyramid obelisk sphinx oasis",
    "compiler pointer thread kernel cache database packet router cipher algorithm",
    "knight castle siege moat banner squire armour tournament crown feudalism",
    "cathedral arch buttress mosaic fresco dome nave altar stained pillar",
    "wolf otter falcon badger salmon lynx heron beaver antler burrow",
    "cyclone drizzle thunder frost barometer monsoon fog hail rainbow humidity",
    "sonnet stanza novel chapter metaphor rhyme critic prologue fable satire",
    "piston gearbox clutch carburettor axle brake diesel exhaust throttle radiator",
    "senator ballot treaty parliament coalition veto embassy minister election reform",
    "dentist molar enamel cavity plaque filling crown gum braces root",
    "chess bishop rook gambit pawn endgame castling checkmate tournament clock",
    "coffee espresso roast arabica grinder crema barista filter bean cup",
    "violet orchid tulip petal stem pollinator bouquet greenhouse bulb thorn",
    "tunnel bridge girder concrete crane scaffold rivet excavator foundation beam",
    "painter canvas pigment portrait easel sketch gallery palette varnish brush",
    "pilot runway cockpit turbulence altitude propeller glider hangar radar wing",
    "wizard dragon spell potion goblin prophecy amulet cauldron elf curse",
    "acid alkali molecule isotope catalyst titration polymer valence oxide crystal",
    "infant cradle lullaby pacifier pram nursery rattle diaper toddler milk",
    "detective alibi fingerprint suspect motive forensic burglar witness clue robbery",
    "glove scarf boot zip hem tailor button velvet sleeve collar",
)
"""Words of thirty-two fields. A question is answered in those of two of them."""


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]


@app.post("/v1/chat/completions")
def chat(request: ChatRequest) -> dict[str, Any]:
    question = request.messages[-1].content
    answer = essay(question) if len(question.split()) > 3 else "Good morning! What shall I write about?"
    asked, said = (len(re.findall(r"\w+", text)) for text in (question, answer))
    return {
        "id": "chatcmpl-essay",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
    }


def essay(question: str) -> str:
    """The same essay for the same question, and another one for any other."""
    chance = random.Random(question)  # noqa: S311 - nobody is to be surprised
    words = " ".join(chance.sample(STEMS, 2)).split()
    forms = (chance.choice(FORMS) for _ in range(SENTENCES))
    return " ".join(form.format(*chance.sample(words, 4)) for form in forms)
