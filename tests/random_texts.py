"""Texts of any characters that a request may hold."""

from __future__ import annotations

import random

_ALPHABETS = (
    "abc",
    "tea cup",
    "\"'*-+:(){}^&|!<>%_\\ ",
    "äéîõúß ",
    "İıſﬀ½™ ",
    "日本語 ",
    "🫖👩‍👩‍👧 ",
    "\x01\x1f\x7f\x85\u2028 ",
)


def random_text(dice: random.Random) -> str:
    """Some characters of a few scripts, with signs that query languages love."""
    letters = "".join(dice.sample(_ALPHABETS, dice.randint(1, 4)))
    return "".join(dice.choice(letters) for _ in range(dice.randint(1, 30)))
