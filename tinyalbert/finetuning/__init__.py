"""A pretrained encoder to one that answers: labels, entities, answers, choices, summaries.

    config.py             every setting, and the paper's recipes
    finetune.py           the whole training, in a straight line
    trainer.py            one step, the evaluation, and what is saved
    task.py               what a task must be able to do
    classification.py, entities.py, questions.py, choices.py, summaries.py    the tasks
    tables.py             CSV, TSV, JSONL and plain lines
"""
