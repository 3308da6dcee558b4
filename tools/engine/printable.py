"""Text from outside in a line for a person: a terminal obeys some signs and does not show them."""


def printable(text: str) -> str:
    r"""The text on one line, with escapes such as ``\x1b`` for what cannot be shown.

    Those are line ends, the signs that colour text or turn its direction, and bytes of a file
    name that are no text.
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )
