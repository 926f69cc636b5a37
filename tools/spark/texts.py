"""Numbers and words to read."""

from . import drawing, fonts
from .drawing import COLOR_NAMES, SHAPES, Picture
from .questions import ASK, LABELS, ORDINALS, Sample, Turn, absent, choose, follow, text_key
from .sums import plus

LETTERS, DIGITS = fonts.CHARACTERS[10:], fonts.CHARACTERS[:10]


def text_picture(random, level, text, faces):
    """A picture of one line of text that fits, from 10 pixels on."""
    base = drawing.draw_base(random)
    width, height = drawing.draw_size(random, level)
    style = fonts.draw_style(random, faces)
    room = min((width - 6) / drawing.text_width(style, text), (height - 6) / fonts.CAP, 52)
    least = min(room, 10 + 18 * max(0.0, 1 - 2 * level))
    size = fonts.snap(style, int(least + (room - least) * random.random() ** 0.8))
    while size > 10 and size > room:
        size = fonts.snap(style, size - 10)
    color, name = drawing.ink(random, base)
    image = drawing.paper(random, level, width, height, base)
    left = random.uniform(3, max(3, width - 3 - drawing.text_width(style, text) * size))
    top = random.uniform(3, max(3, height - 3 - fonts.cap(size)))
    return Picture(image, drawing.write(image, style, text, size, left, top, color, name)), name


def draw_text(random, alphabet, length):
    """Random characters; neither a number that begins with 0 nor one of the LABELS."""
    while True:
        text = "".join(random.choice(alphabet) for _ in range(length))
        if (length == 1 or text[0] != "0") and text not in LABELS:
            return text


def number_sample(random, level, held, faces):
    """A number of one to four digits."""
    length = random.randint(1, 4 if level > 0.2 else 2)
    text = choose(held, lambda: draw_text(random, DIGITS, length), text_key)
    picture, color = text_picture(random, level, text, faces)
    turns = text_turns(random, "number", text, color)
    if len(text) <= 2:
        turns.append(plus(random, turns[0], held))
    return Sample(turns, [picture])


def word_sample(random, level, held, faces):
    """A word of two to four random capitals."""
    length = random.randint(2, 4 if level > 0.2 else 3)
    text = choose(held, lambda: draw_text(random, LETTERS, length), text_key)
    picture, color = text_picture(random, level, text, faces)
    turns = text_turns(random, "word", text, color)
    place = random.choice([("first", 0), ("last", -1)])
    turns.append(follow(turns[0], f"And the {place[0]} letter?", text[place[1]], " ".join(text)))
    return Sample(turns, [picture])


def text_turns(random, kind, text, color):
    """What can be asked about a number or a word: first what it is, and its color where that has a name."""
    seen = f"a {kind}"
    turns = [
        Turn(kind, random.choice(ASK[kind]), text, " ".join(text)),
        Turn("describe", random.choice(ASK["describe"]), f"The {kind} {text}.", seen),
        absent(random, "word" if kind == "number" else "number", seen),
        absent(random, random.choice(SHAPES), seen),
        absent(random, random.choice(["bars", "label"]), seen),
    ]
    if color >= 0:
        turns.append(Turn("color", random.choice(ASK["color"]).format(kind), COLOR_NAMES[color], seen))
    return turns


def number_pair(random, level, held, faces):
    """Two pictures of numbers below 100."""
    draw = lambda: random.sample(range(1, 100), 2)
    number_keys = (lambda numbers, index=index: text_key(str(numbers[index])) for index in range(2))
    numbers = choose(held, draw, lambda numbers: f"pair {numbers}", *number_keys)
    pictures = [text_picture(random, max(0.0, level - 0.35), str(number), faces)[0] for number in numbers]
    which = random.randrange(2)
    larger, seen = ORDINALS[numbers[1] > numbers[0]], str(numbers[which])
    return Sample(
        [
            Turn("compare", random.choice(ASK["larger"]), larger, f"{numbers[0]}, {numbers[1]}", True),
            Turn("compare", f"What number is in the {ORDINALS[which]} picture?", seen, " ".join(seen)),
        ],
        pictures,
    )
