"""The kinds of events a run can log, as the base class of everything that stores or shows them."""

from collections.abc import Mapping, Sequence

from torch import Tensor


class Backend:
    """One destination of events; it overrides the kinds it can show, the others do nothing.

    Every method may raise OSError, in ``__init__`` too: the Logger then warns once and continues
    without this backend. The caller may reuse its tensors as soon as a method has returned.
    """

    name: str
    """Name of this backend in warnings."""

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point to the curve ``tag``; value may be NaN or infinite."""

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Show ``[3, H, W]`` uint8 RGB."""

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Show how ``values`` (any shape, any device) are distributed."""

    def pr_curve(self, tag: str, targets: Tensor, scores: Tensor, step: int) -> None:
        """Show precision against recall for ``[N]`` targets in {0, 1} and scores in [0, 1]."""

    def pr_points(self, tag: str, points: Sequence[tuple[float, float]], step: int) -> None:
        """Show a curve of (recall, precision), recall ascending, that was computed elsewhere."""

    def settings(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Keep the settings (dotted names) of a finished run next to its final metrics."""

    def flush(self) -> None:
        """Pass all events logged so far to the operating system."""

    def close(self) -> None:
        """Finish; afterward only ``close`` may be called again."""
