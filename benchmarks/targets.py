"""Targets in words: the same ones wherever a result is held against what was aimed for."""

WORDS = {True: "met", False: "NOT met", None: "not measured"}


def in_a_word(met: bool | None, reached: bool | None) -> str:
    """What is said of a target.

    Args:
        met: None where nothing was measured.
        reached: whether what one hoped for is reached too; None without such an aim.

    >>> in_a_word(True, None), in_a_word(True, False), in_a_word(False, False)
    ('met', 'met, aim not reached', 'NOT met')
    """
    word = WORDS[met]
    if met and reached is not None:
        word += ", aim reached" if reached else ", aim not reached"
    return word
