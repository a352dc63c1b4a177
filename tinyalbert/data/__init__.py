"""Text to training batches, as in Google's create_pretraining_data.py, but masked on the fly.

    corpus.py      files -> documents -> sentences       (sentences.py, demo_corpora.py)
    shards.py      token ids in memory-mapped files
    tokenizing.py  sentences -> shards, once
    segments.py    documents -> pairs of segments, in order or swapped
    masking.py     tokens -> [MASK]
    batches.py     all of it, shuffled, padded and resumable
"""
