"""Text to token ids: ALBERT's SentencePiece and BERT's WordPiece; learning a vocabulary.

In reading order: normalization.py, pieces.py and albert.py (ALBERT), wordpiece.py and bert.py
(BERT), what they share (vocabulary.py, batch_encoding.py, base.py), files (directory.py,
tokenizer_json.py, auto.py), training.py.
"""

from .auto import load_tokenizer

__all__ = ["load_tokenizer"]
