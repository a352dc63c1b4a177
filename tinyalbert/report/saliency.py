"""Which words an answer came from: gradient times input.

For a text of word vectors e and the probability p of the model's answer, token t gets

    s_t = e_t · d log p / d e_t

to first order what log p would lose if its vector were shrunk to nothing: positive for what speaks
for the answer, negative against it (Simonyan et al. 2014, Denil et al. 2014). It is a linear view
of something that is not linear: a hint where to look, not a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from ..finetuning.finetuned import FineTuned
from ..finetuning.task import Features


def saliency(finetuned: FineTuned, feature: Features, label: int) -> np.ndarray:
    """s [T] for one feature of a text and its answer, the number of a label."""
    model = finetuned.model
    batch = finetuned.task.batch([feature], finetuned.tokenizer.pad_token_id)
    ids = model.backend.asarray(batch.pop("input_ids"))
    batch["labels"] = np.array([label])
    embeds = model.albert.embeddings.word_embeddings.weight.data[ids]           # [1, T, E]
    _, cache = model.forward(inputs_embeds=embeds, **batch)
    d_embeds = model.backward(cache, -1.0)          # the loss is -log p
    model.zero_grad()
    return model.backend.to_numpy((embeds * d_embeds).sum(-1)[0])


def marked(text: str, spans: Sequence[tuple[int, int]], scores: np.ndarray) -> str:
    """A text as HTML, each piece as deep in colour as it speaks for or against the answer. spans:
    of its T tokens, (0, 0) where a token is not of the text."""
    strongest = max(float(np.abs(scores).max()), 1e-12)
    html, done = [], 0
    for (start, end), score in zip(spans, (scores / strongest).tolist(), strict=True):
        if end <= start or start < done:
            continue
        html.append(escape(text[done:start]))
        kind = "for" if score > 0 else "against"
        html.append(f'<span class={kind} style="--s:{abs(score):.2f}">{escape(text[start:end])}'
                    "</span>")
        done = end
    return "".join([*html, escape(text[done:])])


def explained(finetuned: FineTuned, example: Any, answer: str) -> str:
    """The text of a classification as HTML, with what the answer came from."""
    task: Any = finetuned.task
    unlabelled = example._replace(label=None)
    feature, = task.features(finetuned.tokenizer, [unlabelled], finetuned.max_length)
    scores = saliency(finetuned, feature, task.ids[answer])
    spans = finetuned.tokenizer(example.text, example.text_pair, truncation=True,
                                max_length=finetuned.max_length,
                                return_offsets_mapping=True)["offset_mapping"]
    types = np.array(feature["token_type_ids"])
    html = []
    for segment, text in enumerate(filter(None, (example.text, example.text_pair))):
        own = [span if kind == segment else (0, 0) for span, kind in zip(spans, types, strict=True)]
        html.append(marked(text, own, scores))
    return " <span class=muted>|</span> ".join(html)
