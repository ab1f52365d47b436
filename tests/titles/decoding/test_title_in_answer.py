from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.titles.decoding.title_in_answer import clean_title, holds_title


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("USB-C Cable 2 m, Braided", "USB-C Cable 2 m, Braided"),
        ("\n\n  USB-C   Cable\t2 m \nIt fits what was viewed before.", "USB-C Cable 2 m"),
        ('"USB-C Cable"', "USB-C Cable"),
        ("„Gartenschlauch 15 m“", "Gartenschlauch 15 m"),
        ("« Tuyau d'arrosage »", "Tuyau d'arrosage"),
        ("「散水ホース 15m」", "散水ホース 15m"),
        ("Title: Kettle 1.7 L", "Kettle 1.7 L"),
        ("2. Kettle 1.7 L\n3. Teapot", "Kettle 1.7 L"),
        ("4) Title: 1. **Kettle**", "Kettle"),
        ("1.5 L Kettle", "1.5 L Kettle"),
        ("2.", "2."),
        ("Next product title: Kettle 1.7 L", "Kettle 1.7 L"),
        ("Titel: Wasserkocher", "Wasserkocher"),
        ("Título: Hervidor", "Hervidor"),
        ("Titre : Bouilloire", "Bouilloire"),
        ("タイトル：電気ケトル", "電気ケトル"),
        ('**Title:** "Kettle"', "Kettle"),
        ("**Kettle 1.7 L**", "Kettle 1.7 L"),
        ("Here is the title of the next product:\n\nKettle 1.7 L", "Kettle 1.7 L"),
        ("Title:\nKettle", "Kettle"),
        ("<think>They want tea.\nA kettle.</think>\nKettle 1.7 L", "Kettle 1.7 L"),
        ("A kettle.</think>Kettle 1.7 L", "Kettle 1.7 L"),
        ('24" Monitor, 15" deep', '24" Monitor, 15" deep'),
        ('"Red" and "Blue" Mug', '"Red" and "Blue" Mug'),
        ("Titleist Golf Balls: 12 Pack", "Titleist Golf Balls: 12 Pack"),
        ("Title Boxing Gloves", "Title Boxing Gloves"),
        ("1984: A Novel", "1984: A Novel"),
        ("Lampe:", "Lampe:"),
        ("", ""),
        (" \n ", ""),
        ('""', '""'),
        ("<think>They want", ""),
        ("Title:", ""),
    ],
)
def test_an_answer_is_cut_to_one_title(said: str, title: str) -> None:
    assert clean_title(said) == title
    assert clean_title(title) == title


@given(st.text(alphabet='ab:\n"* 「」', max_size=30), st.text(alphabet='ab:\n"* ', max_size=20))
def test_a_title_that_is_known_at_the_end_of_a_line_stays_whatever_follows(text: str, more: str) -> None:
    if holds_title(f"{text}\n"):
        assert clean_title(f"{text}\n{more}") == clean_title(text)


def test_a_title_is_not_known_before_its_line() -> None:
    assert holds_title("Kettle\n")
    assert not any(map(holds_title, ("\n", "Here is the title:\n", "<think>Kettle\n", "Title:\n\n")))
