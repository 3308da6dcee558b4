"""The images of the synthetic data set: positions of objects, their background, what hides them.

Things in the background have the colors, the texture or the outline of a body, never all three,
or are a salient part without a body, so that none of these alone shows an object.
Writing files is left to ``data.synthetic.dataset``.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data.synthetic.cartoons import (
    KINDS,
    Dye,
    Floats,
    Mask,
    Pose,
    Surface,
    body_period,
    draw_object,
    draw_part,
    ellipse,
    mask_of,
    paint_surface,
    tint,
)

LARGEST_PART = 0.3  # of the area of its object's box
SMALLEST, LARGEST = 0.125, 0.9  # an object's longest side, by the image's shorter side
TINY = 0.12  # the same fraction, below which an object is difficult
LEAST_VISIBLE = 0.62  # the fraction of its pixels below which an object is difficult


class Box(NamedTuple):
    """Zero-based and half-open, in pixels of the image."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def area(self) -> int:
        """Pixels inside; 0 when the corners are in the wrong order."""
        return max(0, self.x2 - self.x1) * max(0, self.y2 - self.y1)

    def common(self, other: "Box") -> "Box":
        """What lies in both; of area 0 when nothing does."""
        x1, y1 = max(self.x1, other.x1), max(self.y1, other.y1)
        return Box(x1, y1, min(self.x2, other.x2), min(self.y2, other.y2))


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One object of an image; its boxes hold its visible pixels.

    Attributes:
        name: its class, a key of ``KINDS``.
        box: the whole object.
        part_box: its salient part; inside of ``box``, at most 30 % of its area.
        truncated: it extends beyond the image.
        difficult: it is tiny, or more than a third of it is hidden.
    """

    name: str
    box: Box
    part_box: Box
    truncated: bool
    difficult: bool


class _Place(NamedTuple):
    name: str
    pose: Pose
    box: Box  # with its contour, within the image
    part_box: Box
    truncated: bool


def draw_image(seed: int, index: int) -> tuple[NDArray[np.uint8], list[DrawnObject]]:
    """Draw one image; the same two numbers give the same image.

    Returns:
        ``[H, W, 3]`` uint8 RGB, and its 1 to 4 objects from back to front. At least one of them is
        not difficult.
    """
    rng = np.random.default_rng((seed, index))
    while True:
        image, objects = _draw_once(rng)
        parts_are_small = all(o.part_box.area <= LARGEST_PART * o.box.area for o in objects)
        if parts_are_small and not all(o.difficult for o in objects):
            return image, objects


def _draw_once(rng: Generator) -> tuple[NDArray[np.uint8], list[DrawnObject]]:
    long = int(rng.integers(240, 401))
    short = int(long * rng.uniform(0.66, 0.9))
    height, width = (long, short) if rng.random() < 0.4 else (short, long)
    canvas = _background(rng, height, width)
    for _ in range(rng.integers(4, 9)):
        _draw_distractor(rng, canvas)
    owner = np.full((height, width), -1)  # which object each pixel shows
    places: list[_Place] = []
    masks: list[tuple[Mask, Mask]] = []
    for name, fraction in _draw_classes(rng):
        place = _find_place(rng, name, fraction * short, (height, width), places)
        if place is not None:
            dye = Dye(rng.uniform(-8, 8), rng.uniform(0.85, 1.1))
            whole, part = draw_object(canvas, KINDS[name], place.pose, dye)
            owner[whole > 127] = len(places)
            places.append(place)
            masks.append((whole, part))
    for number in range(len(places)):
        owner[_draw_occluder(rng, canvas, number, places) > 127] = -1
    objects = [
        _describe(place, owner == number, *masks[number], short)
        for number, place in enumerate(places)
    ]
    return _develop(rng, canvas), objects


def _describe(
    place: _Place, visible: NDArray[np.bool_], whole: Mask, part: Mask, short: int
) -> DrawnObject:
    box = _extent(visible)
    is_hidden = visible.sum() < LEAST_VISIBLE * (whole > 127).sum()
    is_tiny = max(box.x2 - box.x1, box.y2 - box.y1) < TINY * short
    part_box = _extent(visible & (part > 127))
    return DrawnObject(place.name, box, part_box, place.truncated, bool(is_hidden or is_tiny))


def _draw_classes(rng: Generator) -> list[tuple[str, float]]:
    """Class and longest side of each object, as a fraction of the image's shorter side."""
    different = rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25])
    repeated = min(4 - different, rng.choice([0, 1, 2], p=[0.65, 0.25, 0.1]))
    chosen = rng.choice(list(KINDS), size=different, replace=False)
    again = rng.choice(chosen, size=repeated)
    objects = []
    for number, name in enumerate([*chosen, *again]):
        fraction = rng.uniform(0.36, LARGEST) if number == 0 else rng.uniform(SMALLEST, 0.55)
        if number > 0 and rng.random() < 0.06:
            fraction = rng.uniform(0.08, 0.1)
        objects.append((str(name), fraction))
    return objects


def _find_place(
    rng: Generator, name: str, longest_side: float, size: tuple[int, int], taken: list[_Place]
) -> _Place | None:
    """Try places at random; None when there is no room left."""
    kind = KINDS[name]
    points, part_points = kind.points(), np.concatenate(kind.part.outlines)
    image = Box(0, 0, size[1], size[0])
    truncated = bool(rng.random() < 0.14)
    for _ in range(40):
        angle = np.radians(rng.uniform(-kind.tilt, kind.tilt))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * [rng.choice([-1, 1]), 1]
        spread = points @ turn.T
        scale = longest_side / np.ptp(spread, axis=0).max()
        low, high = spread.min(axis=0) * scale, spread.max(axis=0) * scale
        margin = 3 + 0.04 * scale
        center = rng.uniform(margin - low, np.array(size[::-1]) - margin - high)
        if truncated:
            axis, cut = rng.integers(2), rng.uniform(0.15, 0.4) * longest_side
            before, after = -low[axis] - cut, size[1 - axis] - high[axis] + cut
            center[axis] = before if rng.random() < 0.5 else after
        pose = Pose(center, turn, scale)
        box = _around(pose.place(points), pose.rim()).common(image)
        part_box = _around(pose.place(part_points), pose.rim())
        place = _Place(name, pose, box, part_box, truncated)
        part_is_inside = part_box.common(image) == part_box
        if part_is_inside and part_box.area < 0.28 * box.area and _is_free(place, taken):
            return place
    return None


def _is_free(place: _Place, taken: list[_Place]) -> bool:
    """Whether it hides no salient part, and little of the objects already placed."""
    for other in taken:
        common = place.box.common(other.box).area
        if common > 0.3 * min(place.box.area, other.box.area):
            return False
        if place.box.common(other.part_box).area or place.part_box.common(other.box).area:
            return False
    return True


def _background(rng: Generator, height: int, width: int) -> Floats:
    """Ground and sky or a wall, in muted colors, with the marks of boards, grass or leaves."""
    hue = rng.uniform(0, 360)
    colors = [
        Dye().rgb((hue + rng.uniform(-40, 40), rng.uniform(0.1, 0.4), rng.uniform(0.35, 0.85)))
        for _ in range(4)
    ]
    coarse = rng.random((5, 7), dtype=np.float32)
    amount = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, None]
    canvas = colors[0] + (colors[1] - colors[0]) * amount
    horizon = int(height * rng.uniform(0.3, 1.2))
    canvas[horizon:] = (colors[2] + (colors[3] - colors[2]) * amount)[horizon:]
    grain = 9 * rng.standard_normal((height // 3, width // 3), dtype=np.float32)
    canvas += cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    marks = rng.choice(["boards", "grass", "leaves", "pebbles"])
    gap = int(rng.integers(14, 40))
    for x in range(int(rng.integers(gap)), width if marks == "boards" else 0, gap):
        cv2.line(image, (x, 0), (x, height), (0.7 * colors[0]).tolist(), 2, cv2.LINE_AA)
    for x, y, turn, reach in rng.random((0 if marks == "boards" else 110, 4)):
        at = (int(x * width), int(y * height))
        paint = (colors[rng.integers(4)] * rng.uniform(0.65, 1.2)).clip(0, 255).tolist()
        if marks == "grass":
            tip = (int(at[0] + 24 * (turn - 0.5)), int(at[1] - 8 - 30 * reach))
            cv2.line(image, at, tip, paint, 2, cv2.LINE_AA)
        else:
            axes = (int(4 + 9 * reach), int(3 + 3 * turn if marks == "leaves" else 4 + 7 * reach))
            cv2.ellipse(image, at, axes, 360 * turn, 0, 360, paint, -1, cv2.LINE_AA)
    return image.astype(np.float32)


def _draw_distractor(rng: Generator, canvas: Floats) -> None:
    """Draw a thing of no class: the colors of one body, the texture of another, or a lone part."""
    height, width = canvas.shape[:2]
    colored, textured, shaped = (KINDS[str(name)] for name in rng.permutation(list(KINDS))[:3])
    size = 0.5 * min(height, width) * np.exp(rng.uniform(np.log(0.1), np.log(0.5)))
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose = Pose(rng.uniform((0, 0), (width, height)), turn, size)
    dye = Dye(rng.uniform(-12, 12), rng.uniform(0.7, 1.05))
    like = rng.random()
    if like < 0.12:
        draw_part(canvas, shaped, replace(pose, size=2 * size), dye)
        return
    outlines: tuple[Floats, ...] = (_blob(rng),)
    if like < 0.38:
        outlines = shaped.body.outlines
    elif like < 0.55:
        outlines = shaped.part.outlines
    texture = "plain" if rng.random() < 0.4 else textured.body.texture
    surface = Surface(outlines, texture, colored.body.light, colored.body.dark)
    paint_surface(canvas, surface, pose, dye, period=body_period(pose))


def _blob(rng: Generator) -> Floats:
    waves = rng.normal(0, 0.14, 4)
    angles = np.linspace(0, 2 * np.pi, 40)
    reach = 1 + sum(w * np.sin((k + 1) * angles + 9 * w) for k, w in enumerate(waves))
    outline: Floats = ellipse(0, 0, 1, rng.uniform(0.5, 1)) * reach[:, None]
    return outline


def _draw_occluder(rng: Generator, canvas: Floats, number: int, places: list[_Place]) -> Mask:
    """Perhaps draw a tuft or, before any but the first object, a bush: away from salient parts."""
    size: tuple[int, int] = canvas.shape[:2]
    nothing = np.zeros(size, dtype=np.uint8)
    box, part = places[number].box, places[number].part_box
    extent = max(box.x2 - box.x1, box.y2 - box.y1)
    middle = np.array([box.x1 + box.x2, box.y1 + box.y2]) / 2
    away = middle - np.array([part.x1 + part.x2, part.y1 + part.y2]) / 2
    chance = rng.random()
    if chance > 0.45:
        return nothing
    if chance < 0.12 and number > 0:
        outlines = [_blob(rng) * 0.5 * extent + middle + 0.7 * away]
    else:
        root = middle + 0.6 * away + rng.uniform(-0.2, 0.2, 2) * extent
        height = rng.uniform(0.25, 0.45)
        blades = [
            ((x - 0.05, 0), (3 * x, -height), (x + 0.05, 0)) for x in np.linspace(-0.1, 0.1, 5)
        ]
        outlines = [root + extent * np.array(blade) for blade in blades]
    mask = mask_of(size, outlines, [])
    for place in places:
        kept = place.part_box
        if mask[kept.y1 : kept.y2, kept.x1 : kept.x2].any():
            return nothing
    ink = (rng.uniform(60, 140), rng.uniform(0.25, 0.5), rng.uniform(0.3, 0.5))
    tint(canvas, mask_of(size, outlines, [(o, 2) for o in outlines]), 0.5 * Dye().rgb(ink))
    tint(canvas, mask, Dye().rgb(ink))
    return mask


def _develop(rng: Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Change the strength and color of the light, and add the noise of a camera."""
    light = rng.uniform(0.8, 1.15) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    noise = rng.standard_normal((*canvas.shape[:2], 1), dtype=np.float32) * rng.uniform(2, 7)
    developed: NDArray[np.uint8] = np.clip(canvas * light + noise, 0, 255).astype(np.uint8)
    return developed


def _extent(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _around(points: Floats, margin: float) -> Box:
    low, high = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
