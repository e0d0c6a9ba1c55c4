"""The one error that a person can mend, shared by all three floors."""


class EdgeSerError(Exception):
    """Something that the person who called can put right.

    The message is one sentence: what was given, what was expected, and what to do.
    At the command line it is all that is printed, and the exit code is 2.
    """
