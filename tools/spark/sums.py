"""Sums, asked without a picture or after one."""

from .questions import ASK, Sample, Turn, choose, follow, sum_key


def sum_thought(x, y):
    """The addition digit by digit."""
    ones = x % 10 + y % 10
    carry = ones // 10
    return f"{x % 10}+{y % 10}={ones}, {x // 10}+{y // 10}{'+1' if carry else ''}={x // 10 + y // 10 + carry}"


def add_sample(random, _level, held, _faces):
    """A sum of two numbers below 50."""
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
