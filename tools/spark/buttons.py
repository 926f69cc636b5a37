"""Screens of labelled buttons."""

from PIL import ImageDraw

from . import drawing, fonts
from .drawing import SHAPES, Picture
from .questions import ASK, LABELS, Sample, Turn, absent, box_text, choose, follow, text_key
from .texts import LETTERS, draw_text


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
    labels, boxes, picture = draw_screen(random, level, held, faces)
    return Sample(screen_turns(random, labels, boxes, picture.image), [picture])


def buttons_sample(random, level, held, faces):
    """A screen of which every button is asked for."""
    labels, boxes, picture = draw_screen(random, level, held, faces)
    return Sample([find_turn(random, labels, boxes, picture.image, index) for index in range(len(labels))], [picture])


def draw_screen(random, level, held, faces):
    """Buttons that do not touch: their labels, their boxes, and the picture."""
    count = random.randint(1, 2 if level < 0.15 else 4)
    style = fonts.draw_style(random, faces, plain=True)
    size = fonts.snap(style, random.randint(10 + round(4 * max(0, 1 - 3 * level)), 18))
    width, height = drawing.draw_size(random, level, least=15, most=36)
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
    return labels, boxes, Picture(image, marks)


def screen_key(labels, boxes):
    """The labels; a single one is held out by its place, too."""
    return f"screen {sorted(labels)} {boxes if len(boxes) == 1 else ''}"


def place_boxes(random, widths, cap, width, height):
    """Boxes around texts of these widths, inside the screen, that do not touch; fewer where there is no room."""
    boxes = []
    for text in widths:
        box = free_box(random, text + random.uniform(6, 18), cap + random.uniform(6, 12), width, height, boxes)
        if not box:
            break
        boxes.append(box)
    return boxes


def free_box(random, across, down, width, height, boxes):
    """A box of this size inside a picture that touches none of the others, or None."""
    if across > width - 2 or down > height - 2:
        return None
    for _ in range(40):
        left, top = random.randint(1, int(width - across - 1)), random.randint(1, int(height - down - 1))
        box = (left, top, round(left + across), round(top + down))
        if all(box[0] > b[2] + 2 or box[2] < b[0] - 2 or box[1] > b[3] + 2 or box[3] < b[1] - 2 for b in boxes):
            return box
    return None


def screen_turns(random, labels, boxes, image):
    if not labels:
        return []
    target = random.randrange(len(labels))
    turns = [find_turn(random, labels, boxes, image, target)]
    described = "A button." if len(labels) == 1 else f"{len(labels)} buttons."
    turns.append(Turn("describe", random.choice(ASK["describe"]), described, "buttons"))
    turns.append(absent(random, random.choice(["bars", "number", *SHAPES]), "buttons"))
    missing = random.choice([label for label in LABELS if label not in labels])
    turns.append(Turn("refuse", random.choice(ASK["find"]).format(missing), f"There is no {missing}.", "buttons"))
    if len(labels) > 1:
        other = random.choice([index for index in range(len(labels)) if index != target])
        answer, thought = box_text(boxes[other], image), from_the_top(boxes, other)
        turns.append(follow(turns[0], f"And {labels[other]}?", answer, thought, judge="centre"))
    return turns


def find_turn(random, labels, boxes, image, index):
    """Where one of the buttons is."""
    ask = random.choice(ASK["find"]).format(labels[index])
    return Turn("find", ask, box_text(boxes[index], image), from_the_top(boxes, index), judge="centre")


def from_the_top(boxes, index):
    """The place of a box counted from the top."""
    return str(sorted(range(len(boxes)), key=lambda other: boxes[other][1]).index(index) + 1)
