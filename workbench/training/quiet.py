"""Silence of the libraries that training goes through."""

import contextlib
import warnings
from collections.abc import Iterator

from huggingface_hub import constants
from transformers.utils import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars, log lines and outlooks of the libraries, and no report of TRL's to its makers."""
    import datasets

    level, reports = logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    bars, loading = not datasets.are_progress_bars_disabled(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = reports
        logging.set_verbosity(level)
        if loading:
            logging.enable_progress_bar()
        if bars:
            datasets.enable_progress_bars()
