"""A hub that serves given rows, or fails."""

import datasets

from workbench import hub


def serve(monkeypatch, rows):
    """Let `load_dataset` return `rows` as a real `datasets.Dataset`; the list of what is asked."""
    asked = []

    def load_dataset(repository, config=None, *, split):
        asked.append((repository, config, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def fail(monkeypatch, failure):
    """Let `load_dataset` raise `failure`."""

    def load_dataset(*args, **settings):
        raise failure

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
