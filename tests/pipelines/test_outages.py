"""What an outage interrupts is repeated, for ten minutes and with one line."""

import pytest

from pipelines.kfp.error_texts import KfpError
from pipelines.outages import Outages
from xstilts.errors import StoreError, XstiltsError

AWAY = StoreError("the store cannot be reached", temporary=True)


class Clock:
    """Time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def outlast(answers: list[XstiltsError | str], said: list[str]) -> tuple[str, float]:
    """(result, seconds) of an action with these answers, the last of which stays."""
    clock = Clock()
    outages = Outages(said.append, patience=600, pause=5, sleep=clock.sleep, clock=clock)

    def action() -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, XstiltsError):
            raise answer
        return answer

    try:
        return outages.outlast(action), clock.now
    except XstiltsError as error:
        return f"{type(error).__name__}: {error}", clock.now


@pytest.mark.parametrize("error", [AWAY, KfpError("KFP is away", 503), KfpError("x", late=True)])
def test_an_outage_of_45_seconds_is_one_line(error: XstiltsError) -> None:
    said: list[str] = []
    assert outlast([error] * 9 + ["done"], said) == ("done", 45)
    assert said == [f"{error}; retrying for 10 minutes"]


def test_it_gives_up_after_ten_minutes() -> None:
    said: list[str] = []
    assert outlast([AWAY], said) == ("StoreError: the store cannot be reached", 600)
    assert len(said) == 1


@pytest.mark.parametrize(
    "error", [StoreError("a blob is corrupt"), KfpError("no role", 403), KfpError("sign in", 401)]
)
def test_what_no_time_heals_is_raised_at_once(error: XstiltsError) -> None:
    said: list[str] = []
    assert outlast([error], said) == (f"{type(error).__name__}: {error}", 0)
    assert said == []
