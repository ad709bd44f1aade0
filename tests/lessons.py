"""Made-up traffic for the analysis: queries, and holders that ask them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from guard.core.novelty import STANDARD_TOKENS
from guard.core.query import Query, Sampling, Turn, Usage
from guard.detection.learner import Learner
from guard.detection.profile import Profile
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.detection.profile import Step

SECRET = b"a secret of the operator's"
START_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000

_NOUNS = """
abacus acorn adobe airship alchemy algebra almond alpaca amber anchor anthem antler apron arcade
archery armour ashtray asphalt atlas attic auction avocado bagpipe balcony ballet bamboo banjo
barley barometer basalt bazaar beacon beehive beetle bicycle billiards biscuit blizzard bonnet
bonsai boulder bracelet brewery bridge broccoli bronze buffalo bulldozer bungalow butter cactus
calculus calendar camel candle canoe canyon caramel caravan carpet castle cathedral cauldron caviar
cello cement census chalk chameleon cheese chess chimney cinnamon clarinet clutch cobalt coconut
comet compass compost concrete copper coral cotton crater cricket crystal cucumber curtain cypress
dagger dairy desert dialect diesel diploma dolphin donkey dragonfly drawbridge drum dynamo eagle
earthquake eclipse elbow elevator embassy emerald enzyme equator espresso estuary falcon fencing
fern ferry fiddle fjord flannel flute fossil fountain fresco frigate fugue furnace galaxy gallows
garlic geyser ginger giraffe glacier glockenspiel goblet gondola granite grapefruit gravity
greenhouse guitar gypsum hammock harbour harpoon harvest hazelnut hedgehog helium helmet heron
hockey honey hurricane hydrogen iceberg icicle igloo incense inflation insulin iris ivory jaguar
jasmine javelin jelly jigsaw juggler jungle jury kangaroo kayak kettle kidney kimono kiosk kite
labyrinth lacquer ladder lagoon lantern larch lasso lava lavender lawyer leather lemon leopard
library lichen lighthouse limestone linen lizard lobster locomotive loom lullaby lynx magnet
mahogany mandolin mango maple marathon marble mayor meadow melon meteor midwife mirror molasses
monastery monsoon mortgage mosaic mosquito muffin museum mushroom mustard nebula necklace needle
nickel nightingale noodle notary nursery nutmeg oasis oatmeal oboe octopus olive opera orchard
orchid ostrich otter oyster paddle pagoda pancake panther papyrus parachute parliament parrot
parsnip passport peacock peanut pelican pendulum penguin pepper perfume piano pilgrim pillow
pistachio plaster platinum plough plumber polygon porcelain porcupine portrait potassium pottery
prairie prison pulley pumpkin puppet pyramid quarry quartz quilt rabbit radar radish railway rainbow
raspberry raven reindeer rhubarb ribbon robot rocket rodeo rudder saffron salmon sandal sapphire
sauna saxophone scaffold scarecrow scorpion seahorse sextant shampoo sherry shipyard silk skeleton
slalom sledge sonnet soprano sourdough spaghetti sparrow spinach sponge squirrel stadium stapler
submarine sulphur sundial swamp syrup tambourine tapestry tariff teapot telescope temple tennis
terrace thermos thistle thunder tiger toboggan tobacco tornado tortoise tractor trampoline
transistor treadmill trombone tulip tundra tunnel turbine turnip typewriter umbrella unicorn uranium
vaccine valley vampire vanilla velvet viaduct vinegar violin volcano vulture waffle walnut walrus
waltz warehouse wasp waterfall whale wharf whisky willow windmill wizard wombat woodpecker wrench
yacht yogurt zebra zeppelin zinc zither
"""
NOUNS = tuple(_NOUNS.split())


@cache
def learner() -> Learner:
    """One for all tests: it is read from files, and remembers nothing that shows."""
    return Learner(SECRET, Fingerprinter(SECRET))


def asking(
    *turns: str, system: str = "", n: int = 1, sampling: Sampling | None = None, other_tokens: int = 0
) -> Query:
    """A query whose turns are the user's and the assistant's by turns, so that the last is the user's."""
    said = [Turn("system", system)] if system else []
    for back, text in enumerate(reversed(turns)):
        said.insert(1 if system else 0, Turn("assistant" if back % 2 else "user", text))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in turns)
    return Query(
        "m", tuple(said), stream=False, max_output_tokens=None, n=n, input_bytes=size,
        other_tokens=other_tokens, sampling=sampling or Sampling(),
    )  # fmt: skip


@dataclass
class Pupil:
    """A holder whose profile is brought forward by what it asks, a query a minute."""

    profile: Profile = field(default_factory=Profile.new)
    now_us: int = START_US
    pause_us: int = MINUTE_US

    def ask(self, query: Query | str, answer: int = 100, new: float = 1.0) -> Step:
        """Ask, and get an answer of so many tokens, of which this share is new."""
        sight = learner().look(asking(query) if isinstance(query, str) else query)
        step = learner().learn(self.profile, sight, Usage(20, answer), self.now_us)
        self.profile.pay(step, answer / STANDARD_TOKENS, new * answer / STANDARD_TOKENS)
        self.now_us += self.pause_us
        return step

    def ask_all(self, queries: Iterable[Query | str], answer: int = 100, new: float = 1.0) -> list[Step]:
        """Ask one after the other."""
        return [self.ask(query, answer, new) for query in queries]


def enumeration_of(count: int, words: int = 12, seed: int = 0) -> list[str]:
    """So many texts that have nothing to do with each other."""
    rng = Random(seed)
    return [" ".join(rng.sample(NOUNS, words)) for _ in range(count)]


def noise_of(count: int, words: int = 12, seed: int = 0) -> list[str]:
    """So many texts of made-up words, of which hardly any comes twice."""
    rng = Random(seed)

    def word() -> str:
        return "".join(
            rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4))
        )

    return [" ".join(word() for _ in range(words)) for _ in range(count)]


def exemplars_of(count: int, seed: int = 0) -> list[str]:
    """So many items of a data set: instructions of about a length, about whatever there is."""
    rng = Random(seed)
    names = iter(noise_of(4 * count, 1, seed))

    def thing() -> str:
        return f"the {rng.choice(NOUNS)} of {next(names)}"

    return [
        rng.choice(_INSTRUCTIONS).format(thing(), thing(), rng.choice(NOUNS), rng.choice(NOUNS), thing())
        for _ in range(count)
    ]


_INSTRUCTIONS = (
    "Explain how {0} differs from {1}, and give an example in which a {2} or a {3} matters.",
    "Write a short story in which {0} meets {1} near a {2}, and end it with a {3}.",
    "List five reasons why {0} became more important than {1}, and name a {2} and a {3} for each.",
    "A {2} costs four times as much as {0}. How many of them buy {1}, given one {3}?",
    "Summarise what is known about {0}, then compare it with {1}; mention the {2} and the {3}.",
    "Design an experiment that shows whether {0} depends on {1}, with a {2} as the control for a {3}.",
    "Rewrite this as a letter to a museum: we found {0} beside {1}, under a {2} and a broken {3}.",
    "Classify {0}, {1}, {4} and a {2} by origin, and say why the {3} does not belong.",
)


def conversation_of(count: int) -> list[Query]:
    """So many queries of one conversation that goes on, and whose history is sent along."""
    history: list[str] = []
    queries = []
    for number in range(count):
        history.append(f"and what about part {number} of it, is that as bad?")
        queries.append(asking(*history[-7:]))
        history.append("It is much the same.")
    return queries
