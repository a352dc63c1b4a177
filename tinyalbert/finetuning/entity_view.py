"""A text with its entities marked: coloured for a terminal, or as HTML.

    [person Ada Lovelace] was born in [location London].

Entities are as predictions and `pipeline("ner", ..., aggregation_strategy="simple")` have them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InputError

ANSI = (36, 33, 35, 32, 34, 31)         # cyan, yellow, magenta, green, blue, red
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")      # what could command a terminal
GOLDEN_ANGLE = 137.5                    # of hues: any number of them lie apart

STYLE = """<style>
.entities { color-scheme: light dark; color: CanvasText; background: Canvas; padding: .5em;
  line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
.entities mark { color: inherit; background: hsl(var(--hue) 80% 50% / .25); padding: .15em .3em;
  border-bottom: 2px solid hsl(var(--hue) 80% 45%); border-radius: .2em; }
.entities small { margin-left: .4em; opacity: .75; }
</style>"""

Answers = Sequence[dict[str, Any]]


def to_terminal(text: str, entities: Answers, color: bool = True,
                types: Sequence[str] = ()) -> str:
    """Each entity in brackets after its type. types: all that there can be, so that each has the
    same colour in several texts."""
    names = types_of(entities, types)
    shown = []
    for part, kind in parts(text, entities):
        part, label = (CONTROL.sub("\ufffd", s) for s in (part, kind or ""))
        if kind is None:
            shown.append(part)
        elif color:
            code = ANSI[names.index(kind) % len(ANSI)]
            shown.append(f"\x1b[{code}m[{label} \x1b[1m{part}\x1b[22m]\x1b[39m")
        else:
            shown.append(f"[{label} {part}]")
    return "".join(shown)


def to_html(text: str, entities: Answers, types: Sequence[str] = (), legend: bool = True) -> str:
    """A piece of HTML that needs nothing else, with a legend of the types unless that is to be left
    out; in ASCII, so that no encoding spoils it. types: as in to_terminal."""
    names = types_of(entities, types)
    body = "".join(html.escape(part) if kind is None else mark(part, kind, names)
                   for part, kind in parts(text, entities))
    if legend:
        body = f"<div>{' '.join(mark(kind, None, names) for kind in names)}</div>{body}"
    page = f'{STYLE}\n<div class="entities">{body}</div>\n'
    return page.encode("ascii", "xmlcharrefreplace").decode()


def mark(text: str, kind: str | None, names: Sequence[str]) -> str:
    """With its type beside it; without one it is a type itself."""
    hue = names.index(kind or text) * GOLDEN_ANGLE % 360
    label = f"<small>{html.escape(kind)}</small>" if kind else ""
    return f'<mark style="--hue: {hue:g}">{html.escape(text)}{label}</mark>'


def types_of(entities: Answers, types: Sequence[str]) -> list[str]:
    """Those that were named, then others that are there."""
    return [*types, *sorted({entity["entity_group"] for entity in entities} - {*types})]


def parts(text: str, entities: Answers) -> Iterator[tuple[str, str | None]]:
    """The text from its beginning to its end, in parts; with its type where one is an entity.
    InputError if entities overlap or lie outside of the text."""
    end = 0
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not end <= entity["start"] < entity["end"] <= len(text):
            raise InputError(f"the entity {entity!r:.100} overlaps another or lies outside of the "
                             f"text, which has {len(text)} characters")
        yield text[end:entity["start"]], None
        end = entity["end"]
        yield text[entity["start"]:end], entity["entity_group"]
    yield text[end:], None
