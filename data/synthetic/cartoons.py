"""The looks of the objects of the synthetic data set, and painting one of them on a canvas.

Every class has a small salient part (a head, a lid, a nose) and a large, less salient body with its
own texture. ``data.synthetic.scenes`` says where objects stand and what is around them.
"""

import colorsys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.uint8]  # [H, W], 0 .. 255
Color = tuple[float, float, float]  # hue in degrees, saturation and value in 0 .. 1
Texture = Callable[[Floats, Floats], Floats]  # of x and y in radians, to about -1 .. 1
TAU = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Surface:
    """Outlines filled with a texture between a dark and a light color."""

    outlines: tuple[Floats, ...]  # [N, 2] each
    texture: str  # a key of TEXTURES
    light: Color
    dark: Color


@dataclass(frozen=True, slots=True)
class Kind:
    """How a class looks, in a frame of about -1 .. 1, y down; its part is at the right or top."""

    body: Surface
    part: Surface
    limbs: tuple[tuple[Floats, float], ...]  # lines behind the body and their widths
    limb_color: Color
    tilt: float  # degrees, the largest rotation
    seams: tuple[Floats, ...] = ()  # thin lines upon the body

    def points(self) -> Floats:
        """Points that span the object, ``[N, 2]``."""
        limbs = [line + shift * width / 2 for line, width in self.limbs for shift in (-1, 1)]
        return np.concatenate([*self.body.outlines, *self.part.outlines, *limbs])


@dataclass(frozen=True, slots=True)
class Pose:
    """Point p of an object's frame stands at ``center + size * turn @ p`` of the image."""

    center: Floats
    turn: Floats  # [2, 2], a rotation, perhaps flipped
    size: float  # pixels

    def place(self, points: Floats) -> Floats:
        """From the object's frame to pixels of the image, ``[N, 2]``."""
        placed: Floats = points @ self.turn.T * self.size + self.center
        return placed

    def rim(self) -> float:
        """Pixels by which the dark contour of an object extends beyond its outlines."""
        return max(1.0, 0.035 * self.size)


@dataclass(frozen=True, slots=True)
class Dye:
    """What makes one object's colors differ from its class's: degrees of hue, factor of value."""

    hue: float = 0.0
    value: float = 1.0

    def rgb(self, color: Color) -> Floats:
        """The dyed color as red, green, blue in 0 .. 255."""
        hue, saturation, value = (color[0] + self.hue) % 360, color[1], color[2] * self.value
        return 255 * np.array(colorsys.hsv_to_rgb(hue / 360, saturation, min(1, value)), np.float32)


def draw_object(canvas: Floats, kind: Kind, pose: Pose, dye: Dye) -> tuple[Mask, Mask]:
    """Paint an object with its shadow on the canvas, in place.

    Args:
        canvas: ``[H, W, 3]`` float32, RGB in 0 .. 255.
        kind: its class.
        pose: where it stands; may reach beyond the canvas.
        dye: its shade.

    Returns:
        The whole object and its salient part, ``[H, W]`` uint8; the part lies within the whole.
    """
    size = canvas.shape[:2]
    rim = pose.rim()
    limbs = [(pose.place(line), width * pose.size) for line, width in kind.limbs]
    outlines = [pose.place(o) for o in (*kind.body.outlines, *kind.part.outlines)]
    whole = mask_of(size, outlines, [(o, 2 * rim) for o in map(closed, outlines)])
    whole |= mask_of(size, [], [(line, width + 2 * rim) for line, width in limbs])
    offset = np.array([[1, 0, 0.1 * pose.size], [0, 1, 0.14 * pose.size]])
    shadow = cv2.warpAffine(whole, offset, size[::-1])
    reach = 1 + int(0.2 * pose.size)
    canvas *= 1 - 0.4 / 255 * cv2.blur(shadow, (reach, reach))[:, :, None].astype(np.float32)
    ink = 0.4 * dye.rgb(kind.body.dark)
    tint(canvas, whole, ink)
    tint(canvas, mask_of(size, [], limbs), dye.rgb(kind.limb_color))
    paint_surface(canvas, kind.body, pose, dye, period=body_period(pose))
    tint(canvas, mask_of(size, [], [(pose.place(s), rim) for s in kind.seams]), ink)
    return whole, draw_part(canvas, kind, pose, dye)


def draw_part(canvas: Floats, kind: Kind, pose: Pose, dye: Dye) -> Mask:
    """Paint only the salient part of an object, in place; where, ``[H, W]`` uint8."""
    contour = [(closed(pose.place(o)), 2 * pose.rim()) for o in kind.part.outlines]
    tint(canvas, mask_of(canvas.shape[:2], [], contour), 0.06 * dye.rgb(kind.body.dark))
    span = np.ptp(kind.part.outlines[0], axis=0).max() * pose.size
    return paint_surface(canvas, kind.part, pose, dye, period=max(4.0, span / 3))


def body_period(pose: Pose) -> float:
    """Pixels of one period of a body's texture: 8 to 16, so that stride-16 features see it."""
    return float(np.clip(0.26 * pose.size, 8, 16))


def paint_surface(canvas: Floats, surface: Surface, pose: Pose, dye: Dye, *, period: float) -> Mask:
    """Paint the outlines of a surface on the canvas, in place, a little darker toward the edge.

    Returns:
        Where, ``[H, W]`` uint8; all zero when that is outside of the canvas.
    """
    mask = mask_of(canvas.shape[:2], [pose.place(o) for o in surface.outlines], [])
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return mask
    window = np.s_[top : top + height, left : left + width]
    origin = pose.place(surface.outlines[0].mean(axis=0, keepdims=True))[0]
    columns = np.arange(left, left + width) + 0.5 - origin[0]
    rows = np.arange(top, top + height)[:, None] + 0.5 - origin[1]
    (a, b), (c, d) = pose.turn * TAU / period  # a rotation: its transpose turns back
    pattern = TEXTURES[surface.texture](a * columns + c * rows, b * columns + d * rows)
    amount = 0.5 + 0.5 * np.tanh(2 * pattern)
    light, dark = dye.rgb(surface.light), dye.rgb(surface.dark)
    reach = 1 + int(0.35 * pose.size)
    roundness = cv2.blur(mask, (reach, reach), borderType=cv2.BORDER_CONSTANT)[window] / 255
    shade = (0.62 + 0.4 * roundness) * np.linspace(1.1, 0.92, height)[:, None]
    paint = (dark + (light - dark) * amount[:, :, None]) * shade[:, :, None]
    cover = mask[window][:, :, None] / 255
    canvas[window] += cover * (paint - canvas[window])
    return mask


def mask_of(
    size: tuple[int, int], outlines: Iterable[Floats], lines: Iterable[tuple[Floats, float]]
) -> Mask:
    """Filled outlines and lines of a width, in pixels of the image: ``[H, W]`` uint8, smooth."""
    mask = np.zeros(size, dtype=np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [_fixed(outline)], (255,), cv2.LINE_AA, shift=4)
    for line, width in lines:
        cv2.polylines(mask, [_fixed(line)], False, (255,), max(1, round(width)), cv2.LINE_AA, 4)
    return mask


def closed(outline: Floats) -> Floats:
    """The outline with its first point again at the end."""
    return np.concatenate([outline, outline[:1]])


def ellipse(
    x: float, y: float, across: float, down: float, start: float = 0, stop: float = 360
) -> Floats:
    """Forty points around (x, y), ``[40, 2]``; angles in degrees from the right over the bottom."""
    angles = np.radians(np.linspace(start, stop, 40))
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)


def _fixed(points: Floats) -> NDArray[np.int32]:
    return np.round((points - 0.5) * 16).astype(np.int32)  # OpenCV's pixel k is centered at k


def tint(canvas: Floats, mask: Mask, color: Floats) -> None:
    """Lay one color on the canvas where the mask is, in place."""
    left, top, width, height = cv2.boundingRect(mask)
    window = np.s_[top : top + height, left : left + width]
    canvas[window] += mask[window][:, :, None] / 255 * (color - canvas[window])


def _points(*pairs: tuple[float, float]) -> Floats:
    return np.array(pairs, dtype=np.float64)


def _star(x: float, y: float, radius: float) -> Floats:
    angles = np.arange(16) * np.pi / 8
    reach = radius * np.where(np.arange(16) % 2, 0.7, 1.0)
    return np.stack([x + reach * np.sin(angles), y - reach * np.cos(angles)], axis=1)


TEXTURES: dict[str, Texture] = {
    "plain": lambda x, y: np.ones(np.broadcast_shapes(x.shape, y.shape)),  # all light
    "dots": lambda x, y: 2.2 * np.cos(0.8 * x) * np.cos(0.8 * y) - 0.6,
    "checks": lambda x, y: 2 * np.sin(0.8 * x) * np.sin(0.8 * y),
    "ribs": lambda x, y: np.sin(y),
    "stripes": lambda x, y: np.sin(0.71 * (x + y)),
    "spiral": lambda x, y: np.sin(np.hypot(x, y) - np.arctan2(y, x)),
    "waves": lambda x, y: np.sin(y + 1.7 * np.sin(0.7 * x)),
    "rings": lambda x, y: np.cos(1.4 * np.hypot(x, y)),
    "rays": lambda x, y: np.sin(8 * np.arctan2(y, x)),
}

_FIN = _points((0.25, 0.1), (0.72, 0.6), (0.7, 0.95), (0.2, 0.78))

KINDS = {
    "beetle": Kind(
        body=Surface((ellipse(-0.15, 0, 0.77, 0.56),), "dots", (92, 0.65, 0.85), (135, 0.8, 0.38)),
        part=Surface((ellipse(0.66, 0, 0.3, 0.32),), "rings", (32, 0.95, 1), (10, 0.3, 0.08)),
        limbs=tuple(
            (_points((x, 0.3 * side), (x - 0.05, 0.62 * side), (x - 0.2, 0.74 * side)), 0.09)
            for x in (-0.45, -0.05, 0.35)
            for side in (-1, 1)
        ),
        limb_color=(130, 0.5, 0.22),
        seams=(_points((-0.92, 0), (0.4, 0)),),
        tilt=25,
    ),
    "kite": Kind(
        body=Surface(
            (_points((0, -0.98), (0.68, -0.2), (0, 0.68), (-0.68, -0.2)),),
            "checks",
            (212, 0.4, 0.95),
            (222, 0.8, 0.6),
        ),
        part=Surface((_star(0, -0.58, 0.34),), "rays", (325, 0.05, 1), (325, 0.95, 0.85)),
        limbs=((_points((0, 0.6), (0.14, 0.74), (-0.1, 0.84), (0.06, 0.98)), 0.08),),
        limb_color=(325, 0.8, 0.7),
        seams=(_points((0, -0.9), (0, 0.62)), _points((0.68, -0.2), (-0.68, -0.2))),
        tilt=30,
    ),
    "lantern": Kind(
        body=Surface((ellipse(0, 0.1, 0.68, 0.72),), "ribs", (10, 0.6, 0.97), (356, 0.88, 0.6)),
        part=Surface(
            (_points((-0.46, -0.4), (-0.32, -0.84), (0.32, -0.84), (0.46, -0.4)),),
            "checks",
            (52, 0.95, 1),
            (40, 0.5, 0.08),
        ),
        limbs=(
            (_points((0, 0.8), (0, 0.98)), 0.2),
            (ellipse(0, -0.84, 0.18, 0.14, 180, 360), 0.07),
        ),
        limb_color=(40, 0.8, 0.7),
        seams=(ellipse(0, 0.1, 0.3, 0.71),),
        tilt=14,
    ),
    "rocket": Kind(
        body=Surface(
            (ellipse(0, 0, 0.44, 1), _FIN, _FIN * [-1, 1]),
            "stripes",
            (278, 0.2, 0.95),
            (272, 0.62, 0.55),
        ),
        part=Surface((ellipse(0, 0, 0.44, 1, 207, 333),), "ribs", (0, 0, 1), (357, 0.95, 0.9)),
        limbs=((_points((0, 0.9), (0, 1.04)), 0.3),),
        limb_color=(28, 0.9, 0.95),
        seams=(ellipse(0, 0.02, 0.17, 0.17),),
        tilt=40,
    ),
    "snail": Kind(
        body=Surface(
            (ellipse(-0.14, -0.1, 0.7, 0.68),), "spiral", (38, 0.5, 0.95), (22, 0.8, 0.48)
        ),
        part=Surface(
            (ellipse(0.72, 0.16, 0.25, 0.27),), "stripes", (62, 0.6, 1), (300, 0.85, 0.45)
        ),
        limbs=(
            (_points((-0.85, 0.6), (-0.4, 0.56), (0.4, 0.56), (0.7, 0.36)), 0.3),
            (_points((0.66, 0.1), (0.62, -0.24)), 0.07),
            (_points((0.78, 0.1), (0.86, -0.22)), 0.07),
        ),
        limb_color=(45, 0.45, 0.6),
        tilt=15,
    ),
    "teapot": Kind(
        body=Surface((ellipse(0, 0.16, 0.7, 0.6),), "waves", (178, 0.3, 0.95), (186, 0.85, 0.48)),
        part=Surface(
            (ellipse(0, -0.24, 0.46, 0.34, 180, 360), ellipse(0, -0.62, 0.11, 0.12)),
            "dots",
            (0, 0, 1),
            (338, 0.95, 0.55),
        ),
        limbs=(
            (_points((0.5, 0.34), (0.76, 0.12), (0.88, -0.24)), 0.2),
            (ellipse(-0.62, 0.12, 0.3, 0.34, 90, 270), 0.12),
            (_points((-0.36, 0.74), (0.36, 0.74)), 0.12),
        ),
        limb_color=(186, 0.75, 0.4),
        tilt=15,
    ),
}
