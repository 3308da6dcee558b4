"""A run of MLflow: curves, images and settings; of other kinds of events it has none.

MLflow takes its own settings from the environment: ``$MLFLOW_TRACKING_URI`` says where runs are
kept, ``$MLFLOW_EXPERIMENT_NAME`` to which experiment they belong.
"""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from torch import Tensor

from tools.loggers.backend import Backend
from tools.loggers.logger import LOGGED_IMAGE

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
OURS = "run_dir"  # the tag by which a resumed training finds its run
UNSAFE = re.compile(r"[^\w\-. /]")  # characters that MLflow refuses in names
MOST_POINTS, MOST_PARAMS, LONGEST_VALUE = 500, 100, 6000  # of one request, of a parameter
# A server that does not answer ends this backend within seconds, where MLflow waits for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MLflowRun(Backend):
    """Send events to the run of MLflow that is named after the folder of a training.

    Args:
        run_dir: the folder; a training that is resumed there continues its run of MLflow, in which
            points after the checkpoint are then twice.
        uri: where runs are kept: a folder, a database or a server.
        is_resumed: whether the training continues.
    """

    name = "MLflow"

    def __init__(self, run_dir: Path, uri: str, *, is_resumed: bool) -> None:
        for variable, value in PATIENCE.items():
            os.environ.setdefault(variable, value)
        self._points: list[Metric] = []
        with _as_os_error():
            self._client = MlflowClient(uri)
            self._run = self._open(run_dir, is_resumed)

    def _open(self, run_dir: Path, is_resumed: bool) -> str:
        """The id of the run."""
        name, place = os.environ.get(EXPERIMENT, "Default"), str(run_dir.resolve())
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        if is_resumed:
            runs = self._client.search_runs([experiment])  # newest first
            for run in runs:
                if run.data.tags.get(OURS) == place:
                    self._client.set_terminated(run.info.run_id, "RUNNING")
                    return str(run.info.run_id)
        tags = {OURS: place}
        run = self._client.create_run(experiment, run_name=run_dir.resolve().name, tags=tags)
        return str(run.info.run_id)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Keep one point; it is sent with others."""
        if math.isfinite(value):  # a database holds no others
            self._points.append(Metric(_safe(tag), value, int(time.time() * 1000), step))
        if len(self._points) >= MOST_POINTS:
            self.flush()

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Add ``[3, H, W]`` uint8 RGB; of ``image_tag`` one with a slider for all epochs."""
        match = LOGGED_IMAGE.fullmatch(tag)
        pixels = np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy())
        with _as_os_error():
            key = _safe(match[2] if match else tag)
            self._client.log_image(self._run, pixels, key=key, step=step)

    def settings(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Add the settings as parameters; metrics get the prefix ``final/``."""
        params = [Param(_safe(k), str(value)[:LONGEST_VALUE]) for k, value in settings.items()]
        with _as_os_error():
            for first in range(0, len(params), MOST_PARAMS):
                self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])
        for name, value in metrics.items():
            self.scalar(f"final/{name}", value, 0)

    def flush(self) -> None:
        """Send the points."""
        points, self._points = self._points, []
        if points:
            with _as_os_error():
                self._client.log_batch(self._run, metrics=points)

    def close(self) -> None:
        """Send the points and end the run."""
        self.flush()
        with _as_os_error():
            self._client.set_terminated(self._run)


def _safe(tag: str) -> str:
    return UNSAFE.sub("_", tag)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """A failure of MLflow as what the Logger warns of."""
    try:
        yield
    except MlflowException as error:
        raise OSError(str(error)) from error
