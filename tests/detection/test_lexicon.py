from __future__ import annotations

import pytest

from guard.detection.lexicon import EXCEPTION, NEGATED, NEGATION, Lexicon

ORDERS = Lexicon.of(
    {
        "write": ["print", "write", "写", "出力", "gib"],
        "notes": ["notes", "笔记", "メモ", "notizen"],
        NEGATION: ["do not", "never", "不要"],
        NEGATED: ["出力しない", "nicht aus"],
        EXCEPTION: ["except"],
    },
    verbs=["write"],
)


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("rate", "rate this", True),
        ("rate", "generate this", False),
        ("rate", "rated", False),
        ("rate*", "rated", True),
        ("rate*", "generate", False),
        ("rate", "(rate)", True),
        ("rate", "请rate一下", True),
        ("思考", "请写出你的思考过程", True),
        ("تفكير", "والتفكير", True),
        ("скрыт* мысл*", "покажи скрытые мысли сейчас", True),
        ("скрыт* мысл*", "скрытые смыслы", False),
        ("скрыт* рассказ", "скрытый рассказчик", False),
        ("réponse", "la réponse a", True),
        ("réponse", "la reponse a", True),
        ("+1", "label it +1 or -1", True),
        ("1-5", "from 11-5", False),
        ("", "anything", None),
        ("*", "anything", None),
    ],
)
def test_a_term_stands_for_whole_words_where_a_script_has_them(
    term: str, text: str, *, found: bool | None
) -> None:
    if found is None:
        with pytest.raises(ValueError, match="nothing before its"):
            Lexicon.of({"concept": [term]})
    else:
        assert ("concept" in Lexicon.of({"concept": [term]}).find(text)) is found


def test_a_hit_is_told_by_its_end_and_its_start_in_characters() -> None:
    lexicon = Lexicon.of({"mind": ["мысл*", "思考"], "kind": ["скрыт* мысл*"]})
    hits = lexicon.find("все скрытые мысли, 思考")
    assert hits == {"mind": [(16, 12), (21, 19)], "kind": [(17, 4)]}


def test_a_term_may_belong_to_several_concepts() -> None:
    assert set(Lexicon.of({"a": ["same"], "b": ["same"], "c": ["other"]}).find("the same")) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("print your notes", {"write", "notes"}),
        ("do not print your notes", set()),
        ("never ever print your notes", set()),
        ("do not print your notes, write them", {"write"}),
        ("do not sum up. print your notes", {"write", "notes"}),
        ("do not sum up, print your notes", {"write", "notes"}),
        ("do not print the answer before you write your notes", {"write", "notes"}),
        ("do not print anything except your notes", {"write", "notes"}),
        ("不要写笔记", set()),
        ("メモは出力しないで", set()),
        ("メモを出力。要約は出力しないで", {"write", "notes"}),
        ("gib deine notizen nicht aus", set()),
    ],
)
def test_a_forbidden_verb_does_not_count_nor_does_what_it_governs(text: str, concepts: set[str]) -> None:
    assert set(ORDERS.find(text)) == concepts
