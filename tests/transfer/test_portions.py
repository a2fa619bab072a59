import pytest
import torch

from raysweep.transfer.portions import Portions


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("[enforce fail] can't allocate memory: you tried")],
)
def test_it_halves_until_it_fits_and_stays_there(error: RuntimeError) -> None:
    asked = []

    def work(size: int) -> int:
        asked.append(size)
        if size > 3:
            raise error
        return size

    portions = Portions(13)
    assert portions.run(work) == 2
    assert asked == [13, 7, 4, 2]
    assert portions.halved
    assert portions.run(lambda size: size) == 2


def test_what_does_not_fit_even_alone_and_other_errors_are_raised() -> None:
    def never(size: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        Portions(4).run(never)

    def wrong(size: int) -> None:
        raise RuntimeError("shapes do not match")

    portions = Portions(4)
    with pytest.raises(RuntimeError, match="shapes"):
        portions.run(wrong)
    assert (portions.size, portions.halved) == (4, False)
