"""The notebooks' exercises and pictures: `check` looks at an answer and says what is wrong with it.

    check("linear_backward", linear_backward)

Nothing here is needed to train or to use a model. Every chapter's exercises stand in a file of
their own, with the usual wrong answers, so that whoever gives one hears what it is.
"""

from __future__ import annotations

from .exercise import Exercise, Verdict, check, exercises
from .pictures import picture

__all__ = ["Exercise", "Verdict", "check", "exercises", "picture"]
