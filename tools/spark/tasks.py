"""The tasks, and how samples of them are drawn."""

from . import drawing, fonts
from .bars import bar_sample
from .buttons import buttons_sample, screen_sample
from .drawing import COLOR_NAMES, SHAPES, Picture
from .pages import page_sample
from .questions import ASK, LABELS, ORDINALS, Sample, Turn, absent, choose
from .shapes import places_sample, scene_sample, shape_pair
from .sums import add_sample
from .texts import number_pair, number_sample, word_sample

TASKS = ["number", "word", "color", "shape", "count", "side", "bar", "add"]
TASKS += ["find", "locate", "compare", "follow", "describe", "refuse", "blank", "talk"]
READING = ["number", "word", "bar", "find"]  # evaluated with the family of fonts that is never trained on, too
TALK = [
    (["Hello", "Hello!", "Hi", "Hi!", "Good morning", "Good morning!"], "Hello!", "a greeting"),
    (["How are you?", "How are you today?"], "I am well.", "a greeting"),
    (["Who are you?", "What are you?", "What is your name?"], "I am a small model that reads pictures.", "about me"),
    (["What can you do?", "How can you help me?"], "I read numbers, words, shapes, bars and buttons.", "about me"),
    (["Thank you", "Thank you!", "Thanks", "Thanks!"], "You are welcome.", "thanks"),
    (["Bye", "Bye!", "Good night", "Goodbye!"], "Goodbye!", "thanks"),
    (["Tell me a joke.", "What is the weather?", "Who won?", "Write a poem."], "I can not do that.", "not a picture"),
]


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
        "The number . The word . shapes. bars. buttons. Nothing. There is no picture. There is no number. There is no word.",
        "There are no bars. Add and . And the lowest? And the highest? And the first letter? And the last letter? And plus ?",
        "What number is in the first picture? What number is in the second picture? left right same nothing a number a word",
        "the image photo show me more less than above below yes small large big chart text digit you see please how many it on at",
    ]
    return ["system user assistant Look and answer."] * 200 + fixed * 3 + spoken * 20 + answers * 4 + others * 60


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
    """Small talk, and a question about a picture that is not there."""
    asks, answer, thought = random.choice(TALK)
    kind = random.choice(["number", "word", "count", "highest", "find", "describe", "larger", "more shapes"])
    unseen = random.choice(ASK[kind]).format(random.choice(LABELS))
    return Sample(
        [
            Turn("talk", random.choice(asks), answer, thought),
            Turn("refuse", unseen, "There is no picture.", "no picture"),
        ]
    )


def pair_sample(random, level, held, faces):
    """Two pictures to compare."""
    if random.random() < 0.5:
        return shape_pair(random, level, held)
    return number_pair(random, level, held, faces)


SEEING, ANSWERING, PRACTISING = range(3)  # the stages of training: pictures alone, all questions, the hard ones mostly
MAKERS = {  # how often each is drawn in each stage
    "number": (number_sample, 12, 20, 16),
    "word": (word_sample, 16, 24, 34),
    "page": (page_sample, 36, 8, 8),
    "scene": (scene_sample, 12, 24, 8),
    "bar": (bar_sample, 5, 6, 3),
    "screen": (screen_sample, 18, 18, 10),
    "pair": (pair_sample, 0, 6, 4),
    "blank": (blank_sample, 1, 3, 2),
    "add": (add_sample, 0, 8, 6),
    "talk": (talk_sample, 0, 3, 2),
    "buttons": (buttons_sample, 0, 0, 18),
    "places": (places_sample, 0, 0, 10),
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
# How often these are asked when they could be; others always are.
OFTEN = {"describe": 0.3, "refuse": 0.25, "follow": 0.5}


def training_sample(random, level, stage=ANSWERING, most=3):
    """A sample with up to so many questions, or with a picture alone."""
    makers, *shares = zip(*MAKERS.values())
    maker = random.choices(makers, shares[stage])[0]
    while True:
        sample = maker(random, level, False, fonts.TRAINED)
        first = (
            [] if maker is scene_sample else sample.turns[:1]
        )  # what the picture is about; of shapes all questions are
        rest = [turn for turn in sample.turns[1:] if random.random() < OFTEN.get(turn.task, 1)]
        if maker is scene_sample:
            rest = sample.turns[:1] + rest
        random.shuffle(rest)
        sample.turns = (first + rest)[:most]
        if sample.turns or sample.pictures:
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
