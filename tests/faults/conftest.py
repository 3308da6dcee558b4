"""The small trained runs of the shell's tests, here to be killed, damaged and left without room."""

from tests.tools_tests.conftest import (  # noqa: F401
    detector_run,
    detector_words,
    feature_cache,
    proposals_file,
    small_run,
    some_proposals,
    train,
    undo,
    words,
)
