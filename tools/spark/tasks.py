"""The tasks: pictures drawn with a random generator, and questions about them with their answers and derivations.

Contents have keys: a number, a word, a pair of summands or of pictures, the shapes on a picture from the left, the heights of bars,
the labels of a screen. A tenth of the keys, chosen by hash, is held out: no picture or sum of training has such a content, and
every picture or sum of an evaluation does. Too few to hold out by what they are: one shape and one label are held out with
their places, one digit is new by its looks alone, and small talk's sentences are the same everywhere.
"""

import functools
import hashlib
from dataclasses import dataclass, field

from PIL import ImageDraw

from . import drawing, fonts
from .drawing import COLOR_NAMES, COLORS, SHAPES, Mark, Picture

RECIPE = ["number", "word", "color", "shape", "count", "side", "bar", "add"]
TASKS = [*RECIPE, "find", "locate", "compare", "follow", "describe", "refuse", "blank", "talk"]
READING = ["number", "word", "bar", "find"]  # evaluated with the family of fonts that is never trained on, too
LETTERS, DIGITS = fonts.CHARACTERS[10:], fonts.CHARACTERS[:10]
LABELS = ["OK", "NO", "YES", "SAVE", "OPEN", "EXIT", "HELP", "BACK", "NEXT", "STOP", "PLAY", "EDIT", "COPY", "SEND"]
ORDINALS = ["first", "second"]

ASK = {
    "number": ["What number is this?", "Which number do you see?", "Read the number.", "What is the number?"],
    "word": ["What word is this?", "Which word do you see?", "Read the word.", "What does it say?"],
    "color": ["What color is the {}?", "Which color is the {}?", "What is the color of the {}?"],
    "shape": ["Which shape is {}?", "What shape is {}?"],
    "only shape": ["What shape is this?", "Which shape do you see?"],
    "count": ["How many shapes are there?", "How many shapes do you see?", "Count the shapes."],
    "side": ["Is the {} left or right of the {}?"],
    "highest": ["Which bar is the highest?", "Which bar is highest?", "What is the highest bar?"],
    "lowest": ["Which bar is the lowest?", "Which bar is lowest?", "What is the lowest bar?"],
    "add": ["What is {}+{}?", "{}+{}=", "Add {} and {}."],
    "find": ["Where is {}?", "Where is the button {}?", "Find {}."],
    "locate": ["Where is the {}?", "Find the {}."],
    "more shapes": ["Which picture has more shapes?", "Where are more shapes?"],
    "larger": ["Which number is larger?", "Which picture has the larger number?"],
    "describe": ["What is in the picture?", "What do you see?", "Describe the picture."],
}
TALK = [
    (["Hello", "Hello!", "Hi", "Hi!", "Good morning", "Good morning!"], "Hello!", "a greeting"),
    (["How are you?", "How are you today?"], "I am well.", "a greeting"),
    (["Who are you?", "What are you?", "What is your name?"], "I am a small model that reads pictures.", "about me"),
    (["What can you do?", "How can you help me?"], "I read numbers, words, shapes, bars and buttons.", "about me"),
    (["Thank you", "Thank you!", "Thanks", "Thanks!"], "You are welcome.", "thanks"),
    (["Bye", "Bye!", "Good night", "Goodbye!"], "Goodbye!", "thanks"),
    (["Tell me a joke.", "What is the weather?", "Who won?", "Write a poem."], "I can not do that.", "not a picture"),
]


@dataclass
class Turn:
    """A question about the pictures of a sample; hard ones are thought through unless told otherwise."""

    task: str
    question: str
    answer: str
    thought: str
    hard: bool = False
    history: tuple = ()  # earlier (question, answer) pairs
    judge: str = "exact"  # or centre: of the box that the answer names


@dataclass
class Sample:
    """Pictures and independent questions about them."""

    turns: list
    pictures: list = field(default_factory=list)


@functools.lru_cache(100_000)
def is_held(key):
    return hashlib.sha256(key.encode()).digest()[0] * 10 < 256


def choose(held, make, *keys):
    """The first of make's results whose first key is held out, or none of whose keys is; a key of None says nothing."""
    while True:
        made = make()
        found = [key for key in (key(made) for key in keys) if key]
        if not found or (is_held(found[0]) if held else not any(map(is_held, found))):
            return made


def text_key(text):
    return text if len(text) > 1 else None


def sum_key(x, y):
    return f"{min(x, y)}+{max(x, y)}"


def sentences():
    """Text to make a tokenizer from: every question and answer, without the numbers and capitals that are read letter by letter."""
    names = COLOR_NAMES + SHAPES
    fixed = [
        ask.format(*[name] * ask.count("{}"))
        for asks in ASK.values()
        for ask in asks
        for name in names
        if "+" not in ask
    ]
    spoken = [line for asks, answer, thought in TALK for line in [*asks, answer, thought]]
    answers = [
        f"A {color} {shape}. There is no {shape}. And the {shape}? {shape} {color}"
        for color in COLOR_NAMES
        for shape in SHAPES
    ]
    answers += [*names, "left", "right", *ORDINALS] * 99
    others = [
        "The number . The word . shapes. bars. buttons. Nothing. There is no picture. There is no number. There is no word."
    ]
    others += [
        "There are no bars. Add and . And the lowest? And the highest? And the first letter? And the last letter? And plus ?"
    ]
    others += [
        "What number is in the first picture? What number is in the second picture? left right same nothing a number a word"
    ]
    others += [
        "the image photo show me more less than above below yes small large big chart text digit you see please how many it on at"
    ]
    return ["system user assistant Look and answer."] * 200 + fixed * 3 + spoken * 20 + answers * 4 + others * 60


# Numbers and words


def text_picture(random, level, text, faces):
    """A picture of one line of text that fits, from 10 pixels on."""
    base = tuple(random.randint(0, 255) for _ in range(3)) if random.random() < 0.3 else drawing.pale(random)
    width, height = drawing.draw_size(random, level)
    style = drawing.fonts.draw_style(random, faces)
    room = min((width - 6) / drawing.text_width(style, text), (height - 6) / fonts.CAP, 52)
    least = min(room, 10 + 18 * max(0.0, 1 - 2 * level))
    size = fonts.snap(style, int(least + (room - least) * random.random() ** 1.3))
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
    length = random.randint(1, 4 if level > 0.2 else 2)
    text = choose(held, lambda: draw_text(random, DIGITS, length), text_key)
    picture, color = text_picture(random, level, text, faces)
    turns = [
        Turn("number", random.choice(ASK["number"]), text, " ".join(text)),
        Turn("describe", random.choice(ASK["describe"]), f"The number {text}.", "a number"),
        absent(random, "word", "a number"),
        absent(random, random.choice(SHAPES), "a number"),
        absent(random, random.choice(["bars", "label"]), "a number"),
    ]
    if color >= 0:
        turns.append(Turn("color", random.choice(ASK["color"]).format("number"), COLOR_NAMES[color], "a number"))
    if len(text) <= 2:
        turns.append(plus(random, turns[0], held))
    return Sample(turns, [picture])


def word_sample(random, level, held, faces):
    length = random.randint(2, 4 if level > 0.2 else 3)
    text = choose(held, lambda: draw_text(random, LETTERS, length), text_key)
    picture, color = text_picture(random, level, text, faces)
    turns = [
        Turn("word", random.choice(ASK["word"]), text, " ".join(text)),
        Turn("describe", random.choice(ASK["describe"]), f"The word {text}.", "a word"),
        absent(random, "number", "a word"),
        absent(random, random.choice(SHAPES), "a word"),
        absent(random, random.choice(["bars", "label"]), "a word"),
    ]
    if color >= 0:
        turns.append(Turn("color", random.choice(ASK["color"]).format("word"), COLOR_NAMES[color], "a word"))
    place = random.choice([("first", 0), ("last", -1)])
    turns.append(follow(turns[0], f"And the {place[0]} letter?", text[place[1]], " ".join(text)))
    return Sample(turns, [picture])


# Questions that have no answer


def absent(random, what, seen):
    """A question about something that the picture does not show; seen is what it shows."""
    if what in SHAPES:
        ask = random.choice(ASK["color"] + ASK["locate"]).format(what)
    elif what == "bars":
        ask = random.choice(ASK["highest"] + ASK["lowest"])
    elif what == "label":
        what = random.choice(LABELS)
        ask = random.choice(ASK["find"]).format(what)
    else:
        ask = random.choice(ASK[what])
    return Turn("refuse", ask, f"There are no {what}." if what == "bars" else f"There is no {what}.", seen)


def follow(first, question, answer, thought, hard=False, judge="exact"):
    """A second turn after a first one and its answer."""
    return Turn("follow", question, answer, thought, hard, ((first.question, first.answer),), judge)


def blank_sample(random, level, held, _faces):
    """An empty picture: of one colour, shaded or grainy. Its key is its colour."""
    base = choose(held, lambda: tuple(random.randint(0, 255) for _ in range(3)), lambda base: f"blank {base}")
    picture = Picture(drawing.paper(random, level, *drawing.draw_size(random, level), base))
    missing = random.choice(["number", "word", "bars", "label", *SHAPES])
    turns = [
        Turn("blank", random.choice(ASK["describe"]), "Nothing.", "nothing"),
        absent(random, missing, "nothing"),
        Turn("refuse", random.choice(ASK["count"]), "0", "nothing"),
    ]
    turns[1].task = turns[2].task = "blank"
    return Sample(turns, [picture])


def talk_sample(random, _level, _held, _faces):
    asks, answer, thought = random.choice(TALK)
    kind = random.choice(["number", "word", "count", "highest", "find", "describe", "larger", "more shapes"])
    unseen = random.choice(ASK[kind]).format(random.choice(LABELS))
    return Sample(
        [
            Turn("talk", random.choice(asks), answer, thought),
            Turn("refuse", unseen, "There is no picture.", "no picture"),
        ]
    )


# Sums


def sum_thought(x, y):
    ones = x % 10 + y % 10
    carry = ones // 10
    return f"{x % 10}+{y % 10}={ones}, {x // 10}+{y // 10}{'+1' if carry else ''}={x // 10 + y // 10 + carry}"


def add_sample(random, _level, held, _faces):
    x, y = choose(held, lambda: (random.randint(0, 49), random.randint(0, 49)), lambda pair: sum_key(*pair))
    turn = Turn("add", random.choice(ASK["add"]).format(x, y), str(x + y), sum_thought(x, y), carries(x, y))
    return Sample([turn, plus(random, turn, held)])


def plus(random, first, held):
    """A second turn that adds a digit to the first answer; in an evaluation the first content is new, this sum need not be."""
    start = int(first.answer)
    more = choose(False, lambda: random.randint(1, 9), lambda more: None if held else sum_key(start, more))
    return follow(first, f"And plus {more}?", str(start + more), sum_thought(start, more), carries(start, more))


def carries(x, y):
    return x % 10 + y % 10 > 9


# Shapes


def scene_picture(random, level, count, size=None):
    """Up to count shapes that do not touch, from the left: the picture and [(x, y, radius, shape, colour)]."""
    width, height = size or drawing.draw_size(random, level)
    things = []
    for _ in range(60):
        if len(things) == count:
            break
        radius = random.uniform(7 + 5 * max(0, 1 - 3 * level), min(19, height / 2 - 3))
        x, y = random.uniform(radius + 2, width - radius - 2), random.uniform(radius + 2, height - radius - 2)
        if all((x - a) ** 2 + (y - b) ** 2 > (1.25 * (radius + c) + 3) ** 2 for a, b, c, *_ in things):
            things.append((x, y, radius, random.choice(SHAPES), random.choice(COLOR_NAMES)))
    image = drawing.paper(random, level, width, height, drawing.pale(random))
    draw = ImageDraw.Draw(image)
    marks = []
    for order, (x, y, radius, shape, color) in enumerate(sorted(things)):
        drawing.draw_shape(draw, shape, x, y, radius, drawing.near(random, COLORS[color]))
        box = (x - radius, y - radius, x + radius, y + radius)
        marks.append(Mark(x, y, shape, order, COLOR_NAMES.index(color), box))
    return Picture(image, marks), sorted(things)


def scene_key(things):
    """What stands there from the left; a single thing is held out by its place, too."""
    return ", ".join(f"{color} {shape}" for *_, shape, color in things) if len(things) > 1 else str(things)


def scene_sample(random, level, held, _faces):
    count = random.randint(1, 5)
    picture, things = choose(held, lambda: scene_picture(random, level, count), lambda made: scene_key(made[1]))
    shapes, colors = [thing[3] for thing in things], [thing[4] for thing in things]
    place = {shape: shapes.index(shape) + 1 for shape in shapes}
    single = [thing for thing in things if shapes.count(thing[3]) == 1]
    count = len(things)
    described = f"A {colors[0]} {shapes[0]}." if count == 1 else f"{count} shapes."
    turns = [
        Turn("count", random.choice(ASK["count"]), str(count), " ".join(shapes), count > 3),
        Turn("describe", random.choice(ASK["describe"]), described, "shapes"),
        absent(random, random.choice(["number", "word", "bars"]), "shapes"),
    ]
    others = [shape for shape in SHAPES if shape not in shapes]
    if others:
        turns.append(absent(random, random.choice(others), " ".join(shapes)))
    turns += color_turns(random, single, place)
    turns += shape_turns(random, [thing for thing in things if colors.count(thing[4]) == 1], things)
    turns += side_turns(random, single, place)
    if single:
        x, y, radius, shape, _color = random.choice(single)
        box = box_text((x - radius, y - radius, x + radius, y + radius), picture.image)
        turns.append(
            Turn("locate", random.choice(ASK["locate"]).format(shape), box, f"{shape} {place[shape]}", judge="centre")
        )
    return Sample(turns, [picture])


def color_turns(random, single, place):
    """What color a shape is that stands there once, and another one afterwards."""
    if not single:
        return []
    first, *rest = random.sample(single, min(2, len(single)))
    ask = lambda thing: random.choice(ASK["color"]).format(thing[3])
    turns = [Turn("color", ask(first), first[4], f"{first[3]} {place[first[3]]}")]
    for thing in rest:
        turns.append(follow(turns[0], f"And the {thing[3]}?", thing[4], f"{thing[3]} {place[thing[3]]}"))
    return turns


def shape_turns(random, single, things):
    """Which shape has a color that stands there once."""
    if not single:
        return []
    thing = random.choice(single)
    if len(things) == 1 and random.random() < 0.5:
        return [Turn("shape", random.choice(ASK["only shape"]), thing[3], thing[4])]
    return [
        Turn("shape", random.choice(ASK["shape"]).format(thing[4]), thing[3], f"{thing[4]} {things.index(thing) + 1}")
    ]


def side_turns(random, single, place):
    """Whether one shape stands left of another: the thought counts places from the left."""
    pairs = [(a, b) for a in single for b in single if abs(a[0] - b[0]) > 12]
    if not pairs:
        return []
    a, b = random.choice(pairs)
    thought = f"{a[3]} {place[a[3]]}, {b[3]} {place[b[3]]}"
    return [
        Turn("side", random.choice(ASK["side"]).format(a[3], b[3]), "left" if a[0] < b[0] else "right", thought, True)
    ]


def box_text(box, image):
    """A box in the model's own form: shares of width and height."""
    left, top, right, bottom = box
    edges = left / image.width, top / image.height, right / image.width, bottom / image.height
    return "[" + ", ".join(f"{min(1, max(0, edge)):.2f}" for edge in edges) + "]"


# Bars


def bar_sample(random, level, held, faces):
    width, height = drawing.draw_size(random, level, least=12)
    height = max(height, 48)
    count = random.randint(3, 5) if width >= 80 else 3
    heights = choose(held, lambda: random.sample(range(1, 9), count), lambda heights: f"bars {heights}")
    image = drawing.paper(random, level, width, height, drawing.pale(random))
    style, size = drawing.fonts.draw_style(random, faces, plain=True), random.randint(10, 14)
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


# Buttons


def draw_labels(random, count, held):
    """Different labels: common ones, and other words."""
    labels = []
    while len(labels) < count:
        other = choose(held, lambda: draw_text(random, LETTERS, random.randint(2, 4)), text_key)
        label = random.choice(LABELS) if random.random() < 0.6 else other
        if label not in labels:
            labels.append(label)
    return labels


def screen_sample(random, level, held, faces):
    count = random.randint(1, 2 if level < 0.15 else 4)
    style = drawing.fonts.draw_style(random, faces, plain=True)
    size = fonts.snap(style, random.randint(10 + round(4 * max(0, 1 - 3 * level)), 15))
    width, height = drawing.draw_size(random, level, least=24, most=48)
    width, height = max(width, 80), max(height, 48)

    def draw_buttons():
        labels = draw_labels(random, count, held)
        widths = [drawing.text_width(style, label) * size for label in labels]
        boxes = place_boxes(random, widths, fonts.cap(size), width, height)
        return labels[: len(boxes)], boxes

    labels, boxes = choose(held, draw_buttons, lambda made: screen_key(*made))
    image = drawing.paper(random, level, width, height, drawing.pale(random))
    marks = []
    face = tuple(random.randint(120, 255) for _ in range(3)) if random.random() < 0.6 else (225, 225, 225)
    color, _name = drawing.ink(random, face)
    draw_button = random.choice(
        [ImageDraw.ImageDraw.rectangle, lambda draw, *rest, **more: draw.rounded_rectangle(*rest, radius=4, **more)]
    )
    for label, box in zip(labels, boxes):
        draw_button(ImageDraw.Draw(image), box, fill=face, outline=(90, 90, 90))
        left = (box[0] + box[2] - drawing.text_width(style, label) * size) / 2
        marks += drawing.write(
            image, style, label, size, left, (box[1] + box[3] - fonts.cap(size)) / 2 + 0.5, color, box=box
        )
    return Sample(screen_turns(random, labels, boxes, image), [Picture(image, marks)])


def screen_key(labels, boxes):
    """The labels; a single one is held out by its place, too."""
    return f"screen {sorted(labels)} {boxes if len(boxes) == 1 else ''}"


def place_boxes(random, widths, cap, width, height):
    """Boxes around texts of these widths, inside the screen, that do not touch; fewer where there is no room."""
    boxes = []
    for text in widths:
        for _ in range(40):
            across, down = text + random.uniform(6, 18), cap + random.uniform(6, 12)
            if across > width - 2 or down > height - 2:
                continue
            left, top = random.randint(1, int(width - across - 1)), random.randint(1, int(height - down - 1))
            box = (left, top, round(left + across), round(top + down))
            if all(box[0] > b[2] + 2 or box[2] < b[0] - 2 or box[1] > b[3] + 2 or box[3] < b[1] - 2 for b in boxes):
                boxes.append(box)
                break
        else:
            break
    return boxes


def screen_turns(random, labels, boxes, image):
    if not labels:
        return []
    order = sorted(range(len(boxes)), key=lambda index: boxes[index][1])
    thought = lambda index: f"{order.index(index) + 1}"  # counted from the top
    target = random.randrange(len(labels))
    ask = random.choice(ASK["find"]).format(labels[target])
    turns = [Turn("find", ask, box_text(boxes[target], image), thought(target), judge="centre")]
    described = "A button." if len(labels) == 1 else f"{len(labels)} buttons."
    turns.append(Turn("describe", random.choice(ASK["describe"]), described, "buttons"))
    turns.append(absent(random, random.choice(["bars", "number", *SHAPES]), "buttons"))
    missing = random.choice([label for label in LABELS if label not in labels])
    turns.append(Turn("refuse", random.choice(ASK["find"]).format(missing), f"There is no {missing}.", "buttons"))
    if len(labels) > 1:
        other = random.choice([index for index in range(len(labels)) if index != target])
        turns.append(
            follow(turns[0], f"And {labels[other]}?", box_text(boxes[other], image), thought(other), judge="centre")
        )
    return turns


# Two pictures


def pair_sample(random, level, held, faces):
    if random.random() < 0.5:
        return shape_pair(random, level, held)
    return number_pair(random, level, held, faces)


def shape_pair(random, level, held):
    small = lambda: drawing.draw_size(random, level, least=16, most=24)
    counts = random.sample(range(1, 5), 2)
    draw = lambda: [scene_picture(random, level, count, small()) for count in counts]
    pair_key = lambda made: f"pair {[[thing[3:] for thing in things] for _, things in made]}"
    made = choose(held, draw, pair_key, *(lambda made, index=index: scene_key(made[index][1]) for index in range(2)))
    counts = [len(things) for _, things in made]
    if counts[0] == counts[1]:
        return Sample([])
    answer = ORDINALS[counts[1] > counts[0]]
    turn = Turn("compare", random.choice(ASK["more shapes"]), answer, f"{counts[0]}, {counts[1]}", True)
    return Sample([turn], [picture for picture, _ in made])


def number_pair(random, level, held, faces):
    draw = lambda: random.sample(range(1, 100), 2)
    number_keys = (lambda numbers, index=index: text_key(str(numbers[index])) for index in range(2))
    numbers = choose(held, draw, lambda numbers: f"pair {numbers}", *number_keys)
    pictures = [text_picture(random, max(0.0, level - 0.35), str(number), faces)[0] for number in numbers]
    which = random.randrange(2)
    return Sample(
        [
            Turn(
                "compare",
                random.choice(ASK["larger"]),
                ORDINALS[numbers[1] > numbers[0]],
                f"{numbers[0]}, {numbers[1]}",
                True,
            ),
            Turn(
                "compare",
                f"What number is in the {ORDINALS[which]} picture?",
                str(numbers[which]),
                " ".join(str(numbers[which])),
            ),
        ],
        pictures,
    )


# Drawing from all of them

MAKERS = {  # how often each is drawn while the vision tower learns alone, and afterwards
    "number": (number_sample, 28, 20),
    "word": (word_sample, 40, 21),
    "scene": (scene_sample, 12, 26),
    "bar": (bar_sample, 5, 8),
    "screen": (screen_sample, 14, 12),
    "pair": (pair_sample, 0, 7),
    "blank": (blank_sample, 1, 3),
    "add": (add_sample, 0, 9),
    "talk": (talk_sample, 0, 3),
}
SHOWN_BY = {
    **{task: ["scene"] for task in ("shape", "count", "side")},
    **{task: [task] for task in ("number", "word", "bar", "add", "blank", "talk")},
    "color": ["scene", "scene", "scene", "number", "word"],
    "find": ["screen"],
    "locate": ["scene"],
    "compare": ["pair"],
    "follow": ["number", "word", "scene", "bar", "screen", "add"],
    "describe": ["number", "word", "scene", "bar", "screen"],
    "refuse": ["number", "word", "scene", "bar", "screen", "talk"],
}
OFTEN = {
    "describe": 0.3,
    "refuse": 0.25,
    "follow": 0.5,
}  # how often these are asked when they could be; others always are
BOXES_OFTEN = 0.3  # boxes are long


def training_sample(random, level, answers=True, most=3):
    """A sample with up to so many questions; without answers one with a picture."""
    makers, alone, afterwards = zip(*MAKERS.values())
    maker = random.choices(makers, afterwards if answers else alone)[0]
    while True:
        sample = maker(random, level, False, fonts.TRAINED)
        first = sample.turns[:1]
        often = lambda turn: BOXES_OFTEN if turn.judge == "centre" else OFTEN.get(turn.task, 1)
        rest = [turn for turn in sample.turns[1:] if random.random() < often(turn)]
        if maker is scene_sample:
            first, rest = [], first + rest
        random.shuffle(rest)
        sample.turns = (first + rest)[:most]
        if sample.turns:
            return finished(random, level, sample)


def task_sample(random, task, held=True, faces=fonts.TRAINED):
    """A sample with one question of a task, as hard as the training ends with."""
    while True:
        maker = MAKERS[random.choice(SHOWN_BY[task])][0]
        sample = maker(random, 1.0, held, faces)
        turns = [turn for turn in sample.turns if turn.task == task]
        if turns:
            sample.turns = [random.choice(turns)]
            return finished(random, 1.0, sample)


def finished(random, level, sample):
    """At times the pictures are larger than the model takes."""
    if level > 0.5 and random.random() < 0.1:
        factor = random.uniform(1.2, 3)
        sample.pictures = [drawing.enlarged(picture, factor) for picture in sample.pictures]
    return sample
