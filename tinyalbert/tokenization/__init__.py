"""Text to token ids: ALBERT's SentencePiece tokenizer, and its training.

normalization.py, pieces.py, batch_encoding.py, tokenizer.py, training.py: in reading order.
"""
