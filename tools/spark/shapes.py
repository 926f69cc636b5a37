"""Colored shapes: what, where and how many they are."""

from PIL import ImageDraw

from . import drawing
from .drawing import COLOR_NAMES, COLORS, SHAPES, Mark, Picture
from .questions import ASK, ORDINALS, Sample, Turn, absent, box_text, choose, follow


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
    """One to five shapes."""
    picture, things, place, single = draw_scene(random, level, held, random.randint(1, 5))
    shapes, colors = [thing[3] for thing in things], [thing[4] for thing in things]
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
        turns.append(locate_turn(random, random.choice(single), place, picture.image))
    return Sample(turns, [picture])


def places_sample(random, level, held, _faces):
    """Two to five shapes of which every one that stands there once is asked for."""
    picture, _things, place, single = draw_scene(random, level, held, random.randint(2, 5))
    return Sample([locate_turn(random, thing, place, picture.image) for thing in single], [picture])


def draw_scene(random, level, held, count):
    """Up to count shapes: the picture, the shapes from the left, the place of each kind, and the shapes whose kind stands there once."""
    picture, things = choose(held, lambda: scene_picture(random, level, count), lambda made: scene_key(made[1]))
    shapes = [thing[3] for thing in things]
    place = {shape: shapes.index(shape) + 1 for shape in shapes}
    return picture, things, place, [thing for thing in things if shapes.count(thing[3]) == 1]


def locate_turn(random, thing, place, image):
    """Where a shape is; the thought counts from the left."""
    x, y, radius, shape, _color = thing
    box = box_text((x - radius, y - radius, x + radius, y + radius), image)
    return Turn("locate", random.choice(ASK["locate"]).format(shape), box, f"{shape} {place[shape]}", judge="centre")


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


def shape_pair(random, level, held):
    """Two pictures of unequally many shapes."""
    small = lambda: drawing.draw_size(random, level, least=8, most=24)
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
