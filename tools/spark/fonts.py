"""Text as masks: Pillow's two fonts, a stroke font and a pixel font of the same lines, and a family never trained on."""

import functools
import math
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

CAP = 0.72  # height of a capital letter, in units of the text's size
PAD = 2  # pixels around a mask
UPRIGHT = 14  # smaller text is neither slanted nor wobbles
TRAINED = ("aileron", "courier", "stroke", "pixel")
HELD_OUT = ("DejaVuSans.ttf", "DejaVuSerif.ttf")  # from the wheel of matplotlib; needed to write an evaluation set only

# Polylines on a grid of 5 x 7 points: column and row of each point.
STROKES = {
    "0": "10 30 41 45 36 16 05 01 10", "1": "11 20 26", "2": "01 10 30 41 42 06 46", "3": "01 10 30 41 42 33 23;33 44 45 36 16 05",
    "4": "36 30 04 44", "5": "40 00 03 33 44 45 36 16 05", "6": "41 30 10 01 05 16 36 45 44 33 13 04", "7": "00 40 16",
    "8": "13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33", "9": "05 16 36 45 41 30 10 01 02 13 33 42",
    "A": "06 20 46;14 34", "B": "00 06 36 45 44 33 03;33 42 41 30 00", "C": "41 30 10 01 05 16 36 45", "D": "00 06 26 45 41 20 00",
    "E": "40 00 06 46;03 33", "F": "40 00 06;03 33", "G": "41 30 10 01 05 16 36 45 43 23", "H": "00 06;40 46;03 43", "I": "20 26",
    "J": "30 35 26 16 05", "K": "00 06;40 03 46", "L": "00 06 46", "M": "06 00 23 40 46", "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10", "P": "06 00 30 41 42 33 03", "Q": "10 30 41 45 36 16 05 01 10;24 46",
    "R": "06 00 30 41 42 33 03;23 46", "S": "41 30 10 01 02 13 33 44 45 36 16 05", "T": "00 40;20 26", "U": "00 05 16 36 45 40",
    "V": "00 26 40", "W": "00 16 23 36 40", "X": "00 46;40 06", "Y": "00 23 40;23 26", "Z": "00 40 06 46",
}  # fmt: skip
CHARACTERS = "".join(STROKES)


class Style(NamedTuple):
    """How a text looks: its face, and what is done to it."""

    face: str
    bold: float  # width of a stroke, 0 to 1
    slant: float
    stretch: float  # width, stroke font only
    rounding: int  # times the corners of the stroke font are cut
    wobble: float  # of the stroke font's points, in units of its grid
    seed: int


def draw_style(random, faces=TRAINED, plain=False):
    """A style of one of the faces; plain ones are upright."""
    face = random.choice(faces)
    slant = 0.0 if plain or random.random() < 0.7 else random.uniform(-0.15, 0.3)
    wobble = 0.0 if plain or random.random() < 0.5 else random.uniform(0, 0.25)
    return Style(
        face, random.random(), slant, random.uniform(0.75, 1.1), random.randint(0, 2), wobble, random.randrange(2**30)
    )


def snap(style, size):
    """The nearest size that a face has: bitmaps are scaled by whole numbers."""
    if style.face in ("courier", "pixel"):
        return 10 * max(1, round(size / 10 - 0.2))
    return size


def advances(style, text):
    """The width of each character, in units of the text's size."""
    if style.face == "courier":
        return [0.6] * len(text)
    if style.face == "pixel":
        return [0.4 if character == "I" else 0.6 for character in text]
    if style.face == "stroke":
        return [
            CAP / 6 * ((2.2 if character == "I" else 4) * style.stretch + 1.2 + 0.8 * style.bold) for character in text
        ]
    return [truetype(style.face, 100).getlength(character) / 100 for character in text]


def render(style, text, size):
    """The text as a mask (L) whose capitals reach from PAD to PAD + CAP * size, and the x of each character's middle."""
    if size < UPRIGHT:
        style = style._replace(slant=0.0, wobble=0.0)
    widths = [width * size for width in advances(style, text)]
    starts = [PAD + sum(widths[:index]) for index in range(len(text))]
    mask = FACES.get(style.face, render_truetype)(
        style, text, size, starts, (math.ceil(sum(widths)) + 2 * PAD, cap(size) + 2 * PAD)
    )
    if style.slant:
        mask = slanted(mask, style.slant)
    return mask, [start + width / 2 for start, width in zip(starts, widths)]


def cap(size):
    return max(6, round(CAP * size))


def slanted(mask, slant):
    middle = mask.height / 2
    return mask.transform(
        mask.size, Image.Transform.AFFINE, (1, slant, -slant * middle, 0, 1, 0), Image.Resampling.BILINEAR
    )


@functools.cache
def truetype(face, size):
    if face == "aileron":
        return ImageFont.load_default(size)
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{face}", size)


def render_truetype(style, text, size, starts, area):
    mask = Image.new("L", area)
    draw = ImageDraw.Draw(mask)
    stroke = (1 if size >= 20 else 0) if style.bold > 0.7 and style.face in TRAINED else 0
    draw.text((PAD, PAD + cap(size)), text, 255, truetype(style.face, int(size)), anchor="ls", stroke_width=stroke)
    return mask


@functools.cache
def courier():
    return ImageFont.load_default_imagefont()


def render_courier(_style, text, size, _starts, area):
    scale = size // 10
    bitmap = Image.new("L", (6 * len(text), 11))
    ImageDraw.Draw(bitmap).text((0, 0), text, 255, courier())
    bitmap = bitmap.resize((bitmap.width * scale, bitmap.height * scale), Image.Resampling.NEAREST)
    mask = Image.new("L", area)
    mask.paste(bitmap, (PAD, PAD + cap(size) - 9 * scale))
    return mask


def points(character):
    """The polylines of a character as lists of (x, y) on the grid."""
    return [[(int(point[0]), int(point[1])) for point in line.split()] for line in STROKES[character].split(";")]


def render_pixel(_style, text, size, starts, area):
    scale = size // 10
    mask = Image.new("L", area)
    for character, start in zip(text, starts):
        cell = Image.new("L", (5, 7))
        draw = ImageDraw.Draw(cell)
        for line in points(character):
            draw.line(line, 255)
        left = 1 if character == "I" else 0
        cell = cell.resize((5 * scale, 7 * scale), Image.Resampling.NEAREST)
        mask.paste(cell, (round(start) - left * scale, PAD + cap(size) - 7 * scale))
    return mask


def render_stroke(style, text, size, starts, area):
    fine = 3 if size < 24 else 2  # drawn larger and averaged down, which smooths the edges
    mask = Image.new("L", (area[0] * fine, area[1] * fine))
    draw = ImageDraw.Draw(mask)
    unit = cap(size) / 6 * fine
    width = max(fine, round(unit * (0.6 + 0.9 * style.bold)))
    shifts = wobbles(style)
    for character, start in zip(text, starts):
        left = start * fine + unit * (0.6 + 0.4 * style.bold) - (unit * style.stretch * 0.9 if character == "I" else 0)
        for line in points(character):
            moved = [(x + shifts[x][y][0], y + shifts[x][y][1]) for x, y in line]
            corners = smooth(moved, style.rounding)
            inner = (cap(size) * fine - width) / (cap(size) * fine)  # the outermost strokes end at the capitals' height
            at = [(left + x * unit * style.stretch, PAD * fine + width / 2 + y * unit * inner) for x, y in corners]
            draw.line(at, 255, width, joint="curve")
            for x, y in (at[0], at[-1]):
                draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], 255)
    return mask.reduce(fine)


@functools.lru_cache(8)
def wobbles(style):
    """How far each point of the grid is moved: the same for every character of a picture."""
    draw = Random(style.seed)
    move = lambda: draw.uniform(-style.wobble, style.wobble)
    return [[(move(), move()) for _row in range(7)] for _column in range(5)]


def smooth(line, times):
    """A polyline with its corners cut so many times; its ends stay."""
    for _ in range(times):
        cut = [line[0]]
        for (x1, y1), (x2, y2) in zip(line, line[1:]):
            cut += [(0.75 * x1 + 0.25 * x2, 0.75 * y1 + 0.25 * y2), (0.25 * x1 + 0.75 * x2, 0.25 * y1 + 0.75 * y2)]
        line = [*cut, line[-1]]
    return line


FACES = {"courier": render_courier, "stroke": render_stroke, "pixel": render_pixel}
