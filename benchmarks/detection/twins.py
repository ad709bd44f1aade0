"""The benign varieties: whoever resembles a distiller in some way, and is none."""

from __future__ import annotations

from benchmarks.detection import people, programs
from benchmarks.detection.accounts import Caller
from benchmarks.detection.sources import Part
from benchmarks.detection.stage import Variety

_PEOPLE = (
    Variety("person", "benign", people.person, Caller.PERSON),
    Variety("single-turn-person", "benign", people.single_turn_person, Caller.PERSON),
    Variety("provocative-person", "benign", people.provocative_person, Caller.PERSON),
    Variety("power-user", "benign", people.power_user, Caller.PERSON),
    Variety("interpreter", "benign", people.interpreter, Caller.PERSON),
    Variety("creative-writer", "benign", people.creative_writer, Caller.PERSON, only_openai=True),
    Variety("researcher", "benign", people.researcher, Caller.PERSON),
    Variety("student", "benign", people.student, Caller.PERSON),
    Variety("router", "benign", people.honest_router, Caller.PROGRAM, declared="router"),
    Variety(
        "router-with-users",
        "benign",
        people.router_with_users,
        Caller.PROGRAM,
        declared="router",
        only_openai=True,
    ),
)
_PROGRAMS = (
    Variety("narrow-app", "benign", programs.narrow_app, Caller.PROGRAM),
    Variety("narrow-app-history", "benign", programs.narrow_app_with_history, Caller.PROGRAM),
    Variety("narrow-app-inlined", "benign", programs.narrow_app_inlined, Caller.PROGRAM),
    Variety("dated-app", "benign", programs.dated_app, Caller.PROGRAM),
    Variety("mail-app", "benign", programs.mail_app, Caller.PROGRAM),
    Variety("form-filler", "benign", programs.form_filler, Caller.PROGRAM),
    Variety("content-filter", "benign", programs.content_filter, Caller.PROGRAM),
    Variety("titler", "benign", programs.titler, Caller.PROGRAM),
    Variety("classifier", "benign", programs.classifier, Caller.PROGRAM),
    Variety("classifier-logprobs", "benign", programs.confident_classifier, Caller.PROGRAM, only_openai=True),
    Variety("generator", "benign", programs.generator, Caller.PROGRAM),
    Variety("batch-translator", "benign", programs.batch_translator, Caller.PROGRAM),
    Variety("batch-summariser", "benign", programs.batch_summariser, Caller.PROGRAM),
    Variety("batch-extractor", "benign", programs.batch_extractor, Caller.PROGRAM),
    Variety("rag-app", "benign", programs.retrieval_app, Caller.PROGRAM),
    Variety("evaluation", "benign", programs.evaluation, Caller.PROGRAM, declared="evaluation"),
    Variety("judge", "benign", programs.judge, Caller.PROGRAM, declared="judge"),
    Variety("ci", "benign", programs.continuous_integration, Caller.PROGRAM),
    Variety("code-audit", "benign", programs.code_audit, Caller.PROGRAM),
    Variety("coding-agent", "benign", programs.coding_agent, Caller.PROGRAM, only_openai=True),
)
RECORDED = {
    "labelling-app": Part.LABELLED,
    "extracting-app": Part.EXTRACTED,
    "reading-app": Part.READ,
    "document-batch": Part.BATCH,
    "dialogue-app": Part.DIALOGUE,
    "code-assistant": Part.CODE,
}
"""The varieties that repeat the requests and the answers of one source, and what it plays."""

INSTRUCTIONS = {
    Part.LABELLED: "do_label",
    Part.EXTRACTED: "do_extract",
    Part.READ: "do_read",
    Part.BATCH: "do_batch",
    Part.DIALOGUE: "app",
    Part.CODE: "do_code",
}
"""The frames with what such a program has done."""

_RECORDED = tuple(
    Variety(name, "benign", programs.recorded(part, INSTRUCTIONS[part]), Caller.PROGRAM)
    for name, part in RECORDED.items()
)
TWINS: tuple[Variety, ...] = (*_PEOPLE, *_PROGRAMS, *_RECORDED)
