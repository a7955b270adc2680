"""Drawing for the vision world: 64 x 64 pixels, named colours, thick strokes, so that what the question asks can be seen by a small encoder."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 64
COLORS = {
    "red": (220, 30, 30), "green": (30, 160, 50), "blue": (40, 70, 230), "yellow": (245, 205, 20),
    "purple": (150, 40, 190), "orange": (250, 130, 20), "cyan": (30, 195, 215), "gray": (120, 120, 120),
}  # fmt: skip
UNIT = 6  # pixels of one unit of height or length
GRID = (225, 225, 225)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(16)


def canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIZE, SIZE), "white")
    return image, ImageDraw.Draw(image)


def bars(values: list[tuple[str, int]]) -> np.ndarray:
    """Bars from left to right, one unit of height each six pixels."""
    image, draw = canvas()
    width = SIZE // len(values)
    for i, (color, value) in enumerate(values):
        draw.rectangle((i * width + 1, SIZE - 3 - value * UNIT, (i + 1) * width - 2, SIZE - 3), fill=COLORS[color])
    draw.line((0, SIZE - 2, SIZE, SIZE - 2), fill="black", width=2)
    return np.asarray(image)


def line(values: list[tuple[str, int]]) -> np.ndarray:
    """A line chart with one coloured marker a value."""
    image, draw = canvas()
    width = SIZE / len(values)
    points = [((i + 0.5) * width, SIZE - 4 - value * UNIT) for i, (_, value) in enumerate(values)]
    draw.line(points, fill=(60, 60, 60), width=1)
    for (x, y), (color, _) in zip(points, values, strict=True):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=COLORS[color])
    draw.line((0, SIZE - 2, SIZE, SIZE - 2), fill="black", width=2)
    return np.asarray(image)


def pie(values: list[tuple[str, int]]) -> np.ndarray:
    """Slices clockwise from twelve o'clock; the values are twelfths."""
    image, draw = canvas()
    start = -90.0
    for color, value in values:
        draw.pieslice((2, 2, SIZE - 3, SIZE - 3), start, start + 30.0 * value, fill=COLORS[color], outline="white")
        start += 30.0 * value
    return np.asarray(image)


def table(values: list[tuple[str, int]]) -> np.ndarray:
    """Coloured cells in reading order, each with a digit."""
    image, draw = canvas()
    columns = 2 if len(values) <= 6 else 3
    rows = -(-len(values) // columns)
    width, height = SIZE / columns, SIZE / rows
    for i, (color, value) in enumerate(values):
        x, y = (i % columns) * width, (i // columns) * height
        draw.rectangle((x + 1, y + 1, x + width - 2, y + height - 2), outline=COLORS[color], width=4)
        draw.text((x + width / 2, y + height / 2), str(value), fill="black", font=_font(), anchor="mm")
    return np.asarray(image)


def figure(shape: str, color: str, width: int, height: int) -> np.ndarray:
    """A rectangle or right triangle on a unit grid; sides run up to nine units."""
    image, draw = canvas()
    for k in range(0, SIZE, UNIT):
        draw.line((k + 3, 0, k + 3, SIZE), fill=GRID)
        draw.line((0, k, SIZE, k), fill=GRID)
    left, bottom = 3 + UNIT * ((10 - width) // 2), UNIT * (10 - (10 - height) // 2)
    corners = [(left, bottom), (left + UNIT * width, bottom), (left, bottom - UNIT * height)]
    if shape == "rectangle":
        corners.insert(2, (left + UNIT * width, bottom - UNIT * height))
    draw.polygon(corners, fill=COLORS[color], outline="black")
    return np.asarray(image)


def cells(side: int, colors: list[str]) -> np.ndarray:
    """A grid of coloured squares in reading order; `?` is an empty one."""
    image, draw = canvas()
    step = SIZE / side
    for i, color in enumerate(colors):
        x, y = (i % side) * step, (i // side) * step
        box = (x + 2, y + 2, x + step - 3, y + step - 3)
        if color == "?":
            draw.rectangle(box, outline="black", width=2)
        else:
            draw.rectangle(box, fill=COLORS[color])
    return np.asarray(image)
