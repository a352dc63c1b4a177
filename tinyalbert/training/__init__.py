"""What pretraining and fine-tuning share.

    checkpoint.py     from which a training goes on as if it had never stopped
    metrics_log.py    metrics.jsonl, one JSON object a line
    interrupt.py      Ctrl-C ends a step before it ends the training
    numbers.py        what to say when the numbers go wrong
    settings.py       fields that explain themselves
"""
