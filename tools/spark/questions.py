"""Questions, their answers, and which contents are held out.

Contents have keys: a number, a word, a pair of summands or of pictures, the shapes on a picture from the left, the heights of bars,
the labels of a screen. A tenth of the keys, chosen by hash, is held out: no picture or sum of training has such a content, and
every picture or sum of an evaluation does. Too few to hold out by what they are: one shape and one label are held out with
their places, one digit is new by its looks alone, and small talk's sentences are the same everywhere.
"""

import functools
import hashlib
from dataclasses import dataclass, field

from .drawing import SHAPES

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
    """Whether a content is kept for evaluations."""
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


# Kinds of turns


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


def box_text(box, image):
    """A box in the model's own form: shares of width and height."""
    left, top, right, bottom = box
    edges = left / image.width, top / image.height, right / image.width, bottom / image.height
    return "[" + ", ".join(f"{min(1, max(0, edge)):.2f}" for edge in edges) + "]"
