"""What MITRE ATLAS calls what guard sees, so that reports of several operators can be compared.

The techniques are those of its case study AML.CS0056 about campaigns of distillation, and three about
prompts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Self

from guard.core.campaigns import TieKind
from guard.core.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Technique(StrEnum):
    """A technique, by its id; `called` is its name there."""

    called: str

    def __new__(cls, technique_id: str, called: str = "") -> Self:
        """One row."""
        row = str.__new__(cls, technique_id)
        row._value_ = technique_id
        row.called = called
        return row

    PROXIES = "AML.T0008.005", "Acquire Infrastructure: AI Service Proxies"
    EXTRACTION = "AML.T0024.002", "Exfiltration via AI Inference API: Extract AI Model"
    ACCESS = "AML.T0040", "AI Model Inference API Access"
    INJECTION = "AML.T0051", "LLM Prompt Injection"
    JAILBREAK = "AML.T0054", "LLM Jailbreak"
    CRAFTING = "AML.T0065", "LLM Prompt Crafting"
    OBFUSCATION = "AML.T0068", "LLM Prompt Obfuscation"


# A tie and a signal of one name are one row.
# fmt: off
TECHNIQUES: dict[str, tuple[Technique, ...]] = {
    Signal.ENUMERATION:     (Technique.EXTRACTION, Technique.CRAFTING),
    Signal.MIXTURE:         (Technique.EXTRACTION, Technique.CRAFTING),
    Signal.DISTANCE:        (Technique.EXTRACTION,),
    Signal.DISGUISE:        (Technique.OBFUSCATION,),
    Signal.REASONING:       (Technique.EXTRACTION, Technique.CRAFTING),
    Signal.GRADING:         (Technique.EXTRACTION, Technique.CRAFTING),
    Signal.HAZARD:          (Technique.ACCESS,),
    Signal.EXTRACTION:      (Technique.INJECTION,),
    Signal.GENERATION:      (Technique.EXTRACTION, Technique.CRAFTING),
    Signal.REFUSED:         (Technique.EXTRACTION, Technique.JAILBREAK),
    Signal.PROBING:         (Technique.JAILBREAK,),
    Signal.LOGITS:          (Technique.EXTRACTION,),
    Signal.RESAMPLING:      (Technique.EXTRACTION,),
    Signal.SWEEP:           (Technique.EXTRACTION,),
    Signal.BOUND:           (Technique.EXTRACTION, Technique.PROXIES),
    Signal.YIELD:           (Technique.EXTRACTION,),
    Signal.NO_RAMP:         (Technique.ACCESS,),
    Signal.ROUND_THE_CLOCK: (Technique.ACCESS,),
    Signal.SHIFT:           (Technique.ACCESS,),
    Signal.LINEAGE:         (Technique.EXTRACTION, Technique.PROXIES),
    Signal.CAMPAIGN:        (Technique.EXTRACTION, Technique.PROXIES),
    TieKind.TEMPLATE:       (Technique.CRAFTING,),
    TieKind.PAYMENT:        (Technique.PROXIES,),
    TieKind.POOL:           (Technique.PROXIES,),
    TieKind.ASN:            (Technique.PROXIES,),
    TieKind.CLIENT:         (Technique.PROXIES,),
    TieKind.TLS:            (Technique.PROXIES,),
    TieKind.DOMAIN:         (Technique.PROXIES,),
    TieKind.HANDOVER:       (Technique.PROXIES,),
    TieKind.LIKENESS:       (Technique.EXTRACTION,),
    TieKind.SLICES:         (Technique.EXTRACTION,),
    TieKind.INDICATED:      (Technique.EXTRACTION,),
}
# fmt: on


def techniques(seen: Iterable[Signal | TieKind]) -> tuple[Technique, ...]:
    """The techniques that these signals and ties are of, each once."""
    found = {technique for each in seen for technique in TECHNIQUES[each]}
    return tuple(technique for technique in Technique if technique in found)
