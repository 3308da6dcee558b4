from types import SimpleNamespace

import pytest

from data.settings import RANGES, check_range

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        ("above 0", (1e-9, 7, 10**400), (0, -1)),
        ("0 or more", (0, 7), (-1e-9,)),
        ("in (0, 1)", (0.5,), (0, 1, -1, 2)),
        ("in (0, 1]", (0.5, 1), (0, -1, 2)),
        ("in [0, 1)", (0, 0.5), (1, -1, 2)),
        ("in [0, 1]", (0, 0.5, 1), (-1, 2)),
    ],
)
def test_a_number_out_of_range_or_not_finite_is_refused(
    allowed: str, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert all(RANGES[allowed](value) for value in inside)
    assert not any(RANGES[allowed](value) for value in (*outside, NAN, INF, -INF))


def test_what_is_refused_is_named_with_dashes_its_group_and_its_value() -> None:
    settings = SimpleNamespace(step_epochs=0, sizes=(1, -2), limit=None, none=())

    check_range(settings, "above 0", "limit", "none")
    with pytest.raises(ValueError, match=r"^--optim\.step-epochs is above 0, got 0$"):
        check_range(settings, "above 0", "limit", "step_epochs", group="optim.")
    with pytest.raises(ValueError, match=r"^--sizes is above 0, got \(1, -2\)$"):
        check_range(settings, "above 0", "sizes")
