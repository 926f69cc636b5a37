"""Papers, texts and shapes: what the pictures of the tasks are drawn with."""

import functools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from . import fonts
from .settings import MAX_PATCHES, PATCH

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 205, 40),
    "purple": (150, 60, 190),
    "orange": (245, 135, 30),
    "black": (20, 20, 20),
}
COLOR_NAMES = list(COLORS)
SHAPES = ["circle", "square", "triangle", "star", "cross"]
KINDS = ["nothing", *fonts.CHARACTERS, *SHAPES, "bar", "highest", "lowest"]  # what a patch may show


class Mark(NamedTuple):
    """What stands at a place of a picture: the vision tower learns to tell it from the patch there."""

    x: float
    y: float
    kind: str
    order: int  # counted from the left, from 0
    color: int = -1
    box: tuple = None  # left, top, right, bottom in pixels: of the thing, or of the button around it


@dataclass
class Picture:
    """An image (RGB) and what it shows."""

    image: Image.Image
    marks: list = field(default_factory=list)


def draw_size(random, level, least=8, most=30):
    """Width and height in pixels: mostly of so many whole patches, rarely up to the largest number of them."""
    if most == 30 and random.random() < 0.1 and level > 0.3:
        most = MAX_PATCHES
    while True:
        across, down = random.randint(4, 8 if level > 0.3 else 6), random.randint(2, 8 if level > 0.3 else 5)
        if least <= across * down <= most:
            break
    width, height = across * PATCH, down * PATCH
    if level > 0.5 and random.random() < 0.2:
        width, height = width - random.randint(0, 15), height - random.randint(0, 15)
    return width, height


@functools.cache
def grain():
    """Noise of standard deviation 1, of which papers take pieces."""
    return np.random.default_rng(0).standard_normal((256, 256, 3)).astype(np.float32)


def paper(random, level, width, height, base):
    """An image of a base colour, at times shaded or grainy."""
    if random.random() < 1 - 0.35 * level:
        return Image.new("RGB", (width, height), base)
    pixels = np.empty((height, width, 3), np.float32)
    pixels[:] = base
    if random.random() < 0.5:
        angle, depth = random.uniform(0, 2 * math.pi), random.uniform(5, 40)
        across = np.cos(angle) * np.linspace(-1, 1, width)[None] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
        pixels += np.float32(depth / 2) * across[..., None].astype(np.float32)
    if random.random() < 0.7:
        x, y = random.randint(0, 256 - width), random.randint(0, 256 - height)
        pixels += np.float32(random.uniform(2, 12)) * grain()[y : y + height, x : x + width]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pale(random):
    return (random.randint(205, 255),) * 3


def draw_base(random):
    """The colour of a paper: mostly pale, else any."""
    return tuple(random.randint(0, 255) for _ in range(3)) if random.random() < 0.3 else pale(random)


def near(random, color, most=14):
    """A colour close to the given one."""
    return tuple(min(255, max(0, part + random.randint(-most, most))) for part in color)


def lightness(color):
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def ink(random, base):
    """A colour that stands out from the base, and its index if it has a name."""
    while True:
        if random.random() < 0.5:
            name = random.randrange(len(COLORS))
            color = near(random, COLORS[COLOR_NAMES[name]])
        else:
            name, color = -1, (random.randint(0, 70),) * 3 if lightness(base) > 128 else (random.randint(190, 255),) * 3
        if abs(lightness(base) - lightness(color)) > 80:
            return color, name


def write(image, style, text, size, left, top, color, name=-1, box=None):
    """Writes a text whose capitals begin at (left, top) and returns its marks."""
    mask, middles = fonts.render(style, text, size)
    image.paste(color, (round(left) - fonts.PAD, round(top) - fonts.PAD), mask)
    x, y = round(left) - fonts.PAD, round(top) + fonts.cap(size) / 2
    return [
        Mark(x + middle, y, character, order, name, box) for order, (character, middle) in enumerate(zip(text, middles))
    ]


def text_width(style, text):
    """In units of the text's size."""
    return sum(fonts.advances(style, text))


def draw_shape(draw, kind, x, y, radius, color):
    if kind == "circle":
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], color)
    elif kind == "square":
        draw.rectangle([x - 0.88 * radius, y - 0.88 * radius, x + 0.88 * radius, y + 0.88 * radius], color)
    elif kind == "triangle":
        draw.polygon([(x, y - radius), (x - radius, y + 0.85 * radius), (x + radius, y + 0.85 * radius)], color)
    elif kind == "star":
        reach = [radius * (1.1 if corner % 2 == 0 else 0.45) for corner in range(10)]
        draw.polygon(
            [(x + r * math.sin(math.pi * i / 5), y - r * math.cos(math.pi * i / 5)) for i, r in enumerate(reach)], color
        )
    else:
        draw.rectangle([x - radius, y - 0.34 * radius, x + radius, y + 0.34 * radius], color)
        draw.rectangle([x - 0.34 * radius, y - radius, x + 0.34 * radius, y + radius], color)


def enlarged(picture, factor):
    """The picture at another size, as a user's may be; the image processor brings it back to its limits."""
    width, height = round(picture.image.width * factor), round(picture.image.height * factor)
    marks = [
        mark._replace(x=mark.x * factor, y=mark.y * factor, box=mark.box and tuple(edge * factor for edge in mark.box))
        for mark in picture.marks
    ]
    return Picture(picture.image.resize((width, height), Image.Resampling.BICUBIC), marks)


def contact_sheet(tiles, columns=6, cell=(215, 190)):
    """One image of many, each an image list with the lines of text under it."""
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), (120, 120, 120))
    draw = ImageDraw.Draw(sheet)
    for index, (images, lines) in enumerate(tiles):
        x, y = index % columns * cell[0], index // columns * cell[1]
        left = x
        for image in images:
            image = image if max(image.size) <= 128 else image.resize((128, max(1, 128 * image.height // image.width)))
            sheet.paste(image, (left, y))
            left += image.width + 4
        for number, line in enumerate(lines):
            draw.text((x, y + 130 + 11 * number), line[:36], (255, 255, 255))
    return sheet
