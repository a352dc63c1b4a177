"""The task "question-answering": the part of a text that answers a question.

Unlike in Transformers, a score is a probability among the best answers of all windows of the
context together, answers are parts of words where the model says so, and they may be 30 tokens
long: all as fine-tuning measures it. Left out: the threshold that fine-tuning tunes for "no
answer", which stands in finetune.json; `FineTuned.predict` uses it.
"""

from __future__ import annotations

from typing import Any, TypedDict

from ..errors import InputError
from ..tokenization.base import PreTrainedTokenizer


class Found(TypedDict):
    score: float            # its probability among the 20 best answers, in [0, 1]
    start: int              # context[start:end] is the answer
    end: int
    answer: str


def answer_questions(model: Any, tokenizer: PreTrainedTokenizer, inputs: Any = None, *,
                     question: str | list[str] | None = None,
                     context: str | list[str] | None = None, top_k: int = 1,
                     handle_impossible_answer: bool = False, max_answer_len: int = 30,
                     doc_stride: int = 128, batch_size: int = 32) -> Any:
    """What was `Found` for a question; for a list of several questions, a list of that.

    inputs: {"question": ..., "context": ...} or a list of them; or give question and context by
        name, as texts or as lists, or many questions about one context.
    top_k: with more than 1, the top_k best answers instead: a list, best first.
    handle_impossible_answer: "" is an answer too, with start = end = 0.
    max_answer_len: in tokens. doc_stride: by how many tokens each window of a long context lies
        after the one before.

    Raises InputError if a question or context is missing or empty, or the model answers none.
    """
    # Here and not above: fine-tuning stands on this package.
    from ..finetuning.questions import Questions
    if not hasattr(model, "qa_outputs"):
        raise InputError(f"{type(model).__name__} has no question-answering head: load the model "
                         "as AlbertForQuestionAnswering or BertForQuestionAnswering")
    for name, number in (("top_k", top_k), ("max_answer_len", max_answer_len),
                         ("doc_stride", doc_stride)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, not {number}")
    task = Questions(handle_impossible_answer, doc_stride=doc_stride,
                     max_answer_length=max_answer_len)
    predictions, _ = task.predict(
        model, tokenizer, examples(inputs, question, context), batch_size=batch_size,
        max_length=min(model.config.max_position_embeddings, tokenizer.model_max_length))
    answers = [[Found(score=best["score"], start=best["start"], end=best["end"],
                      answer=best["answer"]) for best in prediction["nbest"][:top_k]]
               for prediction in predictions]
    shaped = [best[0] for best in answers] if top_k == 1 else answers
    return shaped[0] if len(shaped) == 1 else shaped


def examples(inputs: Any, question: Any, context: Any) -> list[Any]:
    """A QuestionExample for each question, in whichever way they were given."""
    from ..finetuning.squad import QuestionExample
    if inputs is None:
        questions = question if isinstance(question, list) else [question]
        contexts = context if isinstance(context, list) else [context] * len(questions)
        if len(questions) != len(contexts):
            raise InputError(f"{len(questions)} questions and {len(contexts)} contexts: give one "
                             "context for each, or one for all")
        inputs = [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]
    found = []
    for pair in inputs if isinstance(inputs, list) else [inputs]:
        texts: list[Any] = [pair.get(name) if isinstance(pair, dict) else None
                            for name in ("question", "context")]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError("a question needs its context, as in {'question': ..., 'context': "
                             f"...}}, and neither may be empty: {pair!r:.80}")
        found.append(QuestionExample(*texts))
    if not found:
        raise InputError("there is no question")
    return found
