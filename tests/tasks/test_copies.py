"""What is on both sides of a division though units are kept apart."""

from dataclasses import replace

from raysweep.tasks.copies import on_both_sides
from raysweep.tasks.examine import Examined
from raysweep.tasks.splits import Fold

FOLDS = [Fold(0, [0, 1], [2], [3, 4]), Fold(1, [3, 4], None, [0, 1, 2])]


def seen(task, identities):
    return replace(task, examined=[Examined(identity, "", ()) for identity in identities])


def test_copies_are_counted_over_all_divisions(make_task):
    task = make_task([(f"p{n + 1}", n % 2) for n in range(5)])
    assert on_both_sides(seen(task, "abcde"), FOLDS) == []
    assert on_both_sides(seen(task, ["a", "b", "b", "d", "e"]), FOLDS) == [], "within one side"
    (said,) = on_both_sides(seen(task, ["a+m1", "b", "c", "a+m2", "c"]), FOLDS)
    assert said.startswith("4 of its tested images are trained on as well, with the same bytes (0003.png = 0000.png)")
    assert on_both_sides(seen(task, [""] * 5), FOLDS) == [], "what was not read says nothing"
    (one,) = on_both_sides(seen(task, ["a", "b", "c", "a", "e"]), FOLDS[:1])
    assert one.startswith("1 of its tested images is trained on as well")


def test_units_under_two_names_are_told_where_they_are_parted(make_task):
    names = ["P-1", "p2", "p3", "p01", "p9"]
    task = seen(make_task([(name, n % 2) for n, name in enumerate(names)]), "abcde")
    (said,) = on_both_sides(task, FOLDS[:1])
    assert said == (
        "1 of its tested images are of patients that may be trained on under another name (p01 ~ P-1): if they are "
        "one, write them alike"
    )
    assert on_both_sides(task, [Fold(0, [0, 3], None, [1, 2, 4])]) == []
    assert on_both_sides(replace(task, card=task.card.model_copy(update={"unit": "image"})), FOLDS) == []
