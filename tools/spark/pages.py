"""Pages full of numbers and words: nothing is asked about them, the vision tower learns to read from them."""

from . import drawing, fonts
from .buttons import free_box
from .drawing import Picture
from .questions import Sample, choose, text_key
from .texts import DIGITS, LETTERS, draw_text


def page_sample(random, level, held, faces):
    """As many numbers and words as find room, each in a style and colour of its own; small ones are the most."""
    width, height = drawing.draw_size(random, level)
    base = drawing.draw_base(random)
    image, boxes, marks = drawing.paper(random, level, width, height, base), [], []
    for _ in range(random.randint(4, 14)):
        alphabet = random.choice([DIGITS, LETTERS, LETTERS])
        text = choose(held, lambda: draw_text(random, alphabet, random.randint(1, 4)), text_key)
        style = fonts.draw_style(random, faces)
        size = fonts.snap(style, int(10 + 18 * max(0.0, 1 - 2 * level) + 20 * random.random() ** 2))
        box = free_box(random, drawing.text_width(style, text) * size + 2, fonts.cap(size) + 2, width, height, boxes)
        if box:
            color, name = drawing.ink(random, base)
            marks += drawing.write(image, style, text, size, box[0] + 1, box[1] + 1, color, name, box)
            boxes.append(box)
    return Sample([], [Picture(image, marks)])
