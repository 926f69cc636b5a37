"""Bars of different heights with letters under them."""

from PIL import ImageDraw

from . import drawing, fonts
from .drawing import COLOR_NAMES, COLORS, SHAPES, Mark, Picture
from .questions import ASK, Sample, Turn, absent, choose, follow
from .texts import LETTERS


def bar_sample(random, level, held, faces):
    width, height = drawing.draw_size(random, level, least=12)
    height = max(height, 48)
    count = random.randint(3, 5) if width >= 80 else 3
    heights = choose(held, lambda: random.sample(range(1, 9), count), lambda heights: f"bars {heights}")
    image = drawing.paper(random, level, width, height, drawing.pale(random))
    style, size = fonts.draw_style(random, faces, plain=True), random.randint(10, 14)
    size = fonts.snap(style, size)
    label = fonts.cap(size) + 5
    draw, marks, step, same = ImageDraw.Draw(image), [], (width - 8) / count, random.choice(COLOR_NAMES)
    several = level >= 0.3 and random.random() < 0.4
    for order, value in enumerate(heights):
        x, y = 4 + step * (order + 0.5), height - label - value / 8 * (height - label - 4)
        color = random.choice(COLOR_NAMES) if several else same
        box = (x - 0.32 * step, y, x + 0.32 * step, height - label)
        draw.rectangle(box, drawing.near(random, COLORS[color]))
        kind = {max(heights): "highest", min(heights): "lowest"}.get(value, "bar")
        marks.append(Mark(x, y + 1, kind, order, COLOR_NAMES.index(color), box))
        left = x - drawing.text_width(style, LETTERS[order]) * size / 2
        marks += [
            mark._replace(order=order)
            for mark in drawing.write(image, style, LETTERS[order], size, left, height - label + 3, (10, 10, 10))
        ]
    return Sample(bar_turns(random, heights), [Picture(image, marks)])


def bar_turns(random, heights):
    names = LETTERS[: len(heights)]
    thought = ", ".join(f"{name} {value}" for name, value in zip(names, heights))
    hard = len(heights) > 3
    best = {"highest": names[heights.index(max(heights))], "lowest": names[heights.index(min(heights))]}
    turns = [Turn("bar", random.choice(ASK[which]), answer, thought, hard) for which, answer in best.items()]
    first, second = random.sample(list(best), 2)
    start = Turn("bar", random.choice(ASK[first]), best[first], thought)
    turns.append(follow(start, f"And the {second}?", best[second], thought, hard))
    turns.append(Turn("describe", random.choice(ASK["describe"]), f"{len(heights)} bars.", "bars"))
    turns.append(absent(random, random.choice(["number", *SHAPES]), "bars"))
    return turns
