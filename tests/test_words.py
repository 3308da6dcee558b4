"""One word for each idea, in American spelling, in names, help, documents, keys and file names."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FORBIDDEN = re.compile(
    r"trunks?|pictures?|surest"
    r"|(?:un|multi)?colour(?:s|ed|ing|ful|less)?|cent(?:re[sd]?|ring)|greys?|greyscale"
    r"|(?:behavi|neighb|fav|hon|lab|hum|flav|harb|rum|vap|vig)our(?:s|ed|ing|able|hood)?"
    r"|(?:un|de|re)?(?:normal|regular|local|initial|standard|summar|recogn|organ|optim|quant"
    r"|parametr|penal|visual|serial|synchron|minim|maxim|util|general|real|material|categor|final"
    r"|capital|memor|emphas|special|character|factor|random|pixel|binar|discret|tabular)"
    r"is(?:e|es|ed|er|ers|ing|ation|ations)"
    r"|(?:un|re)?labell(?:ed|ing|er)|cancell(?:ed|ing)|modell(?:ed|ing)|travell(?:ed|ing)"
    r"|licences?|catalogues?|analys(?:e|ed|es|ing)|metres?|fibres?|artefacts?|programmes?"
    r"|defences?|learnt|whilst|amongst",
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# What is read: everything that git keeps but the license and the list above.
UNREAD = {"LICENSE", "tests/test_words.py", "tools/results/demo.jpg"}


def forbidden_words(text: str) -> set[str]:
    return {word for word in map(str.lower, WORD.findall(text)) if FORBIDDEN.fullmatch(word)}


def project_files() -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def test_no_file_holds_another_word_for_an_idea() -> None:
    files = project_files()
    assert len(files) > 200
    strays = {
        name: words
        for name in files
        if name not in UNREAD
        and (words := forbidden_words(f"{name}\n{(PROJECT / name).read_text()}"))
    }
    assert strays == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("frozen_trunk", "trunk"),
        ("class PictureSettings", "picture"),
        ("errors_localisation", "localisation"),
        ("the neighbouring cell", "neighbouring"),
        ("unlabelled images", "unlabelled"),
        ("CENTRE", "centre"),
    ],
)
def test_such_a_word_is_found_in_names_and_in_text(text: str, word: str) -> None:
    assert forbidden_words(text) == {word}


def test_words_that_only_look_alike_are_left_alone() -> None:
    text = "four hours of our exercise, precise and realistic; raise, noise, otherwise, minimizes"
    assert forbidden_words(text) == set()
