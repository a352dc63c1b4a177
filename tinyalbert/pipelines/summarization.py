"""The task "summarization": a short text for a long one, as the model can.

    of `finetune summarize`     writes it
    of `finetune extract`       picks the sentences that it has learned to pick
    any other encoder           picks the most central sentences: nobody has taught it anything

Left out: Transformers' cleaning up of spaces, and token ids instead of texts.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypedDict

from ..config_checks import check_keys
from ..errors import InputError
from ..files import read_json_object
from ..hub import local_directory
from ..tokenization.base import PreTrainedTokenizer
from .batches import encode

logger = logging.getLogger("tinyalbert")


class Summary(TypedDict):
    summary_text: str


def summarize_texts(model: Any, tokenizer: PreTrainedTokenizer, texts: str | list[str], *,
                    batch_size: int = 32, **options: Any) -> list[Summary]:
    """A list, for one text too. (As in Hugging Face.) options: see `written` for a model that
    writes; `sentences`, how many at most, for one that picks: as many as it has learned, or 3.

    Raises InputError for an empty text, an option of another way, and what `written` raises.
    """
    texts = [texts] if isinstance(texts, str) else texts
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"only a text that says something has a summary, not {text!r:.60}")
    way = written if hasattr(model, "generate") else picked
    return [Summary(summary_text=summary)
            for summary in way(model, tokenizer, texts, batch_size, **options)]


def written(model: Any, tokenizer: PreTrainedTokenizer, texts: list[str], batch_size: int, *,
            max_length: int | None = None, min_length: int = 0, truncation: bool = False,
            num_beams: int | None = None, **options: Any) -> list[str]:
    """max_length, min_length: tokens of the summary, its end counted; max_length is what has been
    learned, or a quarter of the positions. truncation: of a text that is too long read the
    beginning. num_beams: 4, and 1 with do_sample. options: others of `generate`.

    Raises InputError if a text and its summary do not fit into the positions together, or an
    option means nothing.
    """
    # Here and not above: fine-tuning stands on this package.
    from ..finetuning.summaries import BEAMS, Summaries, write
    positions = model.config.max_position_embeddings
    max_length = Summaries().room(positions) if max_length is None else max_length
    if not isinstance(max_length, int) or not 0 < max_length < positions - 2:
        raise InputError(f"max_length must be a whole number from 1 to {positions - 3}, not "
                         f"{max_length!r}")
    longest = positions - max_length
    sources = encode(model, tokenizer, texts, truncation)["input_ids"]
    if truncation:
        sources = [ids[:longest - 1] + ids[-1:] if len(ids) > longest else ids for ids in sources]
    for ids in sources:
        if len(ids) > longest:
            raise InputError(f"a text has {len(ids)} tokens, and a summary of max_length "
                             f"{max_length} leaves {longest} of {positions} positions for it: pass "
                             "truncation=True to read its beginning, or a smaller max_length")
    return write(model, tokenizer, sources, batch_size=batch_size, max_new_tokens=max_length,
                 min_new_tokens=min_length,
                 num_beams=num_beams or (1 if options.get("do_sample") else BEAMS), **options)


def picked(model: Any, tokenizer: PreTrainedTokenizer, texts: list[str], batch_size: int,
           **options: Any) -> list[str]:
    """sentences: how many at most."""
    from ..finetuning.extraction import LABELS, LEAD, Extraction, central
    check_keys(options, ["sentences"], f"{type(model).__name__}, which picks sentences,")
    count = options.get("sentences", LEAD)
    if not isinstance(count, int) or count < 1:
        raise InputError(f"sentences must be a whole number of at least 1, not {count!r}")
    if hasattr(model, "classifier") and model.config.id2label == dict(enumerate(LABELS)):
        task = Extraction(count)
        found, _ = task.predict(model, tokenizer, list(map(task.of_text, texts)), max_length=min(
            model.config.max_position_embeddings, tokenizer.model_max_length),
            batch_size=batch_size)
    else:
        logger.warning("%s has not been fine-tuned for summaries: these are the sentences most "
                       "like all the others, which may well say less than the first ones do; "
                       "tinyalbert finetune extract or summarize teaches it", type(model).__name__)
        found = [central(model, tokenizer, text, count) for text in texts]
    return [prediction["summary_text"] for prediction in found]


def summarizer(name_or_directory: str | Path) -> tuple[str, dict[str, Any]]:
    """What to load by name, and the options that it has learned."""
    directory = local_directory(name_or_directory, ["config.json"])
    architecture = str((read_json_object(directory / "config.json").get("architectures")
                        or [""])[0])
    kept = directory / "finetune.json"
    learned = read_json_object(kept).get("learned", {}) if kept.exists() else {}
    if architecture.endswith("ForSeq2SeqLM"):
        return "ForSeq2SeqLM", {"max_length": learned.get("max_target_length")}
    if architecture.endswith("ForTokenClassification") and "sentences" in learned:
        return "ForTokenClassification", {"sentences": learned["sentences"]}
    return "Model", {}
