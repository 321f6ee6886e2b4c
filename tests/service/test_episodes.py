"""Episodes over the real sandbox, on a clock of their own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from service.access import Access
from service.admission import Admission
from service.episodes import OUTCOMES, EpisodeRequest, Episodes, EpisodeStatus
from service.errors import (
    CapacityError,
    EpisodeExistsError,
    EpisodeFinishedError,
    ForbiddenError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    SandboxError,
    UnknownToolError,
)
from service.gauntlet import Gauntlet
from service.metrics import Metrics
from service.sandbox import Sandbox, SandboxConfig, Status
from service.settings import Settings
from service.task import SEEDS, Split, Suite
from tests.conformance.clients import EXAMPLES

pytestmark = pytest.mark.anyio

ORACLE = (EXAMPLES / "solution.py").read_text()
TRY = {"expression": "1 + 1"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig())
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def metrics() -> Metrics:
    return Metrics(statuses=Status, outcomes=OUTCOMES)


def episodes_on(sandbox: Sandbox, clock: Clock, *, admission: Admission | None = None, **changed: int) -> Episodes:
    settings = Settings(**changed)
    gauntlet = Gauntlet(settings, sandbox, admission or Admission(256, metrics().refused), metrics())
    return Episodes(settings, gauntlet, Access(settings.evaluation_token), metrics(), clock=clock)


@pytest.fixture
def episodes(sandbox: Sandbox, clock: Clock) -> Episodes:
    return episodes_on(sandbox, clock, episodes=3, episode_steps=4)


def opened(episodes: Episodes, **options: object) -> str:
    return episodes.open(EpisodeRequest.read(options)).id


# A whole episode


async def test_an_episode_tries_things_out_and_ends_with_its_submission(episodes: Episodes) -> None:
    begun = episodes.open(EpisodeRequest(seed=7))
    assert (begun.suite, begun.split, begun.seed, begun.status) == (Suite.HARDENED, Split.TRAIN, 7, "running")
    assert (begun.done, begun.reward, begun.grade, begun.steps, begun.step_limit) == (False, None, None, 0, 4)
    tried = await episodes.call(begun.id, "python_expression", TRY)
    assert tried.execution is not None
    assert (tried.text.split("\n")[:2], tried.execution.result) == (["result:", "2"], "2")
    assert (tried.done, tried.reward, tried.grade, tried.steps) == (False, None, None, 1)
    ended = await episodes.call(begun.id, "submit_code", {"code": ORACLE})
    assert (ended.done, ended.reward, ended.status, ended.steps) == (True, 1.0, "submitted", 2)
    assert ended.grade is not None
    assert (ended.grade.seed, len(ended.grade.checks), ended.execution) == (7, 6, None)
    assert ended.text.startswith("Score: 100% - ✓ All tiers stable\ntier1: 20/20 - ")
    seen = episodes.view(begun.id)
    assert seen.model_dump() == ended.model_dump(exclude={"text", "execution"})


async def test_the_classic_suite_has_no_seed(episodes: Episodes) -> None:
    begun = episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
    assert (begun.suite, begun.seed) == (Suite.CLASSIC, None)
    ended = await episodes.call(begun.id, "submit_code", {"code": ORACLE})
    assert ended.grade is not None
    assert (ended.reward, ended.grade.suite) == (1.0, Suite.CLASSIC)


# The ends


@pytest.mark.parametrize("tool", ["python_expression", "submit_code", "no_such_tool"])
async def test_whatever_comes_after_a_submission_is_refused(episodes: Episodes, tool: str) -> None:
    episode = opened(episodes)
    ended = await episodes.call(episode, "submit_code", {"code": ""})
    assert (ended.done, ended.reward) == (True, 0.0)
    with pytest.raises(EpisodeFinishedError, match="its submission was graded"):
        await episodes.call(episode, tool, TRY)
    assert episodes.view(episode).reward == 0.0


async def test_of_submissions_at_the_same_time_one_is_graded(episodes: Episodes) -> None:
    episode = opened(episodes, suite="classic")
    calls = [episodes.call(episode, "submit_code", {"code": code}) for code in ("", ORACLE, ORACLE)]
    first, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert not isinstance(first, BaseException)
    assert first.reward == 0.0
    assert [type(other) for other in others] == [EpisodeFinishedError] * 2


async def test_a_submission_is_graded_even_if_nobody_waits_for_it(episodes: Episodes) -> None:
    episode = opened(episodes, suite="classic")
    waiting = asyncio.create_task(episodes.call(episode, "submit_code", {"code": ORACLE}))
    await asyncio.sleep(0.005)
    assert episodes.view(episode).status is EpisodeStatus.GRADING
    assert not episodes.view(episode).done
    waiting.cancel()
    async with asyncio.timeout(10):
        while not episodes.view(episode).done:  # noqa: ASYNC110 - as a client would
            await asyncio.sleep(0.01)
    assert episodes.view(episode).reward == 1.0


async def test_the_last_step_ends_an_episode_without_a_submission(episodes: Episodes) -> None:
    episode = opened(episodes, step_limit=2)
    first = await episodes.call(episode, "python_expression", TRY)
    assert first.text.endswith("(steps left: 1; one of them is for submit_code)")
    last = await episodes.call(episode, "python_expression", TRY)
    assert (last.done, last.reward, last.status, last.grade) == (True, 0.0, "step_limit", None)
    assert last.text.endswith("the episode has ended without a submission.)")
    with pytest.raises(EpisodeFinishedError, match="used up its steps"):
        await episodes.call(episode, "submit_code", {"code": ORACLE})


async def test_the_last_step_may_be_the_submission(episodes: Episodes) -> None:
    episode = opened(episodes, suite="classic", step_limit=1)
    assert (await episodes.call(episode, "submit_code", {"code": ORACLE})).reward == 1.0


async def test_calls_at_the_same_time_do_not_pass_the_step_limit(episodes: Episodes) -> None:
    episode = opened(episodes, step_limit=2)
    calls = [episodes.call(episode, "python_expression", TRY) for _ in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, EpisodeFinishedError) for answer in answers) == 3
    assert (episodes.view(episode).steps, episodes.view(episode).status) == (2, "step_limit")


async def test_the_deadline_ends_an_episode_without_a_reward(episodes: Episodes, clock: Clock) -> None:
    episode = opened(episodes, time_limit_s=60)
    clock.now += 59.5
    assert (episodes.view(episode).status, episodes.view(episode).time_left_s) == ("running", 0.5)
    clock.now += 0.5
    seen = episodes.view(episode)
    assert (seen.status, seen.done, seen.reward, seen.time_left_s) == ("time_limit", True, 0.0, 0.0)
    with pytest.raises(EpisodeFinishedError, match="its time is over"):
        await episodes.call(episode, "submit_code", {"code": ORACLE})


async def test_a_submission_before_the_deadline_is_graded_after_it(episodes: Episodes, clock: Clock) -> None:
    episode = opened(episodes, suite="classic", time_limit_s=60)
    grading = asyncio.create_task(episodes.call(episode, "submit_code", {"code": ORACLE}))
    await asyncio.sleep(0)
    clock.now += 61
    assert (await grading).reward == 1.0


# What the service gets wrong


async def test_a_fault_of_the_service_gives_no_reward(clock: Clock) -> None:
    gone = Sandbox(SandboxConfig())
    await gone.start()
    await gone.stop()
    episodes = episodes_on(gone, clock)
    episode = opened(episodes)
    with pytest.raises(SandboxError):
        await episodes.call(episode, "python_expression", TRY)
    assert episodes.view(episode).steps == 0
    ended = await episodes.call(episode, "submit_code", {"code": ORACLE})
    assert (ended.done, ended.reward, ended.status, ended.grade) == (True, None, "fault", None)
    assert "no reward" in ended.text
    with pytest.raises(EpisodeFinishedError, match="could not be graded"):
        await episodes.call(episode, "submit_code", {"code": ORACLE})


async def test_what_a_full_service_refuses_costs_nothing_and_may_be_handed_in_again(
    sandbox: Sandbox, clock: Clock
) -> None:
    admission = Admission(1, metrics().refused)
    episodes = episodes_on(sandbox, clock, admission=admission)
    episode = opened(episodes, suite="classic", step_limit=1)
    with admission.enter():
        for tool, arguments in (("python_expression", TRY), ("submit_code", {"code": ORACLE})):
            with pytest.raises(OverloadedError):
                await episodes.call(episode, tool, arguments)
    assert (episodes.view(episode).steps, episodes.view(episode).status) == (0, "running")
    assert (await episodes.call(episode, "submit_code", {"code": ORACLE})).reward == 1.0


# Which are kept


async def test_one_more_than_there_are_places_is_refused(episodes: Episodes) -> None:
    kept = [opened(episodes) for _ in range(3)]
    with pytest.raises(CapacityError, match="3 episodes are open") as refused:
        opened(episodes)
    assert refused.value.retry_after_s > 0
    assert episodes.running == 3
    episodes.close(kept[0])
    assert opened(episodes)


async def test_those_that_have_ended_make_room_the_longest_unused_first(episodes: Episodes) -> None:
    first, second, third = (opened(episodes) for _ in range(3))
    for ended in (first, second):
        await episodes.call(ended, "submit_code", {"code": ""})
    episodes.view(first)  # asked for again
    opened(episodes)
    assert episodes.view(first).done
    assert not episodes.view(third).done
    with pytest.raises(NoEpisodeError):
        episodes.view(second)


async def test_an_episode_that_is_begun_anew_keeps_its_id_and_its_place(episodes: Episodes, clock: Clock) -> None:
    first, _, _ = (opened(episodes, seed=seed) for seed in range(3))
    grading = asyncio.create_task(episodes.call(first, "submit_code", {"code": ORACLE}))
    await asyncio.sleep(0)
    with pytest.raises(InputError):
        episodes.reset(first, EpisodeRequest(step_limit=99))
    assert episodes.view(first).status is EpisodeStatus.GRADING
    anew = episodes.reset(first, EpisodeRequest(seed=7))
    assert (anew.id, anew.seed, anew.status, anew.steps) == (first, 7, "running", 0)
    assert (await grading).reward == 1.0
    assert episodes.view(first) == anew
    clock.now += Settings().episode_idle_s
    assert episodes.reset(first, EpisodeRequest()).id == first
    for _ in range(2):
        opened(episodes)
    with pytest.raises(CapacityError):
        episodes.reset("of one that is kept no more", EpisodeRequest())


async def test_an_episode_that_is_idle_for_too_long_is_forgotten(episodes: Episodes, clock: Clock) -> None:
    idle, used = opened(episodes), opened(episodes)
    clock.now += 800
    await episodes.call(used, "python_expression", TRY)
    clock.now += 100
    for call in (episodes.view, episodes.close):
        with pytest.raises(NoEpisodeError, match="idle for 900 seconds"):
            call(idle)
    with pytest.raises(NoEpisodeError):
        await episodes.call(idle, "submit_code", {"code": ORACLE})
    assert not episodes.view(used).done
    assert episodes.running == 1


# What is asked of them


@pytest.mark.parametrize("split", list(Split))
def test_a_seed_is_drawn_from_its_split(episodes: Episodes, split: Split) -> None:
    begun = episodes.open(EpisodeRequest(split=split))
    assert begun.seed is not None
    assert begun.seed in SEEDS[split]
    assert begun.split is split


def test_drawn_seeds_differ(sandbox: Sandbox, clock: Clock) -> None:
    episodes = episodes_on(sandbox, clock)
    assert len({episodes.open(EpisodeRequest()).seed for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 7, "suite": "classic"}, "seed: The classic suite takes no seed"),
        ({"seed": 7, "split": "test"}, "seed: 7 is of the split train; seeds of test are 1500000000 to 1999999999"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": 2_000_000_000}, "seed: Input should be less than or equal to 1999999999"),
        ({"seed": "7"}, "seed: Input should be a valid integer"),
        ({"split": "dev"}, "split: Input should be 'train', 'validation' or 'test'"),
        ({"suite": "easy"}, "suite: Input should be 'classic' or 'hardened'"),
        ({"step_limit": 5}, "step_limit: Input should be less than or equal to 4"),
        ({"step_limit": 0}, "step_limit: Input should be greater than or equal to 1"),
        ({"time_limit_s": 3601}, "time_limit_s: Input should be less than or equal to 3600"),
        ({"time_limit_s": float("nan")}, "time_limit_s: Input should be"),
        ({"reward": 1}, "reward: Extra inputs are not permitted"),
        ({str(index): 0 for index in range(100)}, "episode: Input has 100 members"),
    ],
)
def test_what_does_not_fit_is_named(episodes: Episodes, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(episodes, **options)
    assert episodes.running == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("grade", {}, UnknownToolError),
        ("python_expression", {}, InputError),
        ("python_expression", {"code": "1"}, InputError),
        ("python_expression", {"expression": 1}, InputError),
        ("submit_code", {"code": ORACLE, "seed": 3}, InputError),
        ("submit_code", [ORACLE], InputError),
        ("submit_code", {"code": "\ud800"}, InputError),
        ("submit_code", {"code": "#" * (256 * 1024 + 1)}, InputError),
    ],
)
async def test_a_call_that_does_not_fit_costs_no_step(
    episodes: Episodes, tool: str, arguments: object, error: type[Exception]
) -> None:
    episode = opened(episodes, suite="classic", step_limit=1)
    with pytest.raises(error):
        await episodes.call(episode, tool, arguments)
    assert (await episodes.call(episode, "submit_code", {"code": ORACLE})).reward == 1.0


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "bearer 0123456789abcdef", "\udcff"])
def test_seeds_of_the_test_split_take_the_evaluation_token(
    sandbox: Sandbox, clock: Clock, authorization: str | None
) -> None:
    settings = Settings(evaluation_token=SecretStr("0123456789abcdef"))
    access = Access(settings.evaluation_token)
    gauntlet = Gauntlet(settings, sandbox, Admission(1, metrics().refused), metrics())
    episodes = Episodes(settings, gauntlet, access, metrics(), clock=clock)
    for request in (EpisodeRequest(split=Split.TEST), EpisodeRequest(seed=1_500_000_000)):
        with pytest.raises(ForbiddenError, match="evaluation token"):
            episodes.open(request, authorization=authorization)
        assert episodes.open(request, authorization="Bearer 0123456789abcdef").split is Split.TEST
    assert episodes.open(EpisodeRequest(split=Split.VALIDATION), authorization=authorization).seed is not None
    assert "0123456789abcdef" not in repr(settings)


# What protocols need beside


async def test_ending_an_episode_pays_nothing_and_lets_its_place_go(episodes: Episodes) -> None:
    ended = [await episodes.end(opened(episodes)) for _ in range(3)]
    assert {(view.status, view.done, view.reward) for view in ended} == {(EpisodeStatus.ABANDONED, True, 0.0)}
    with pytest.raises(EpisodeFinishedError, match="without a submission"):
        await episodes.call(ended[2].id, "submit_code", {"code": ORACLE})
    opened(episodes)
    assert (await episodes.end(ended[2].id)).status is EpisodeStatus.ABANDONED
    with pytest.raises(NoEpisodeError):
        await episodes.end(ended[0].id)


async def test_ending_an_episode_waits_for_its_grade(episodes: Episodes) -> None:
    episode = opened(episodes, suite="classic")
    submitting = asyncio.create_task(episodes.call(episode, "submit_code", {"code": ORACLE}))
    await asyncio.sleep(0.005)
    ended = await episodes.end(episode)
    assert (ended.status, ended.reward) == (EpisodeStatus.SUBMITTED, 1.0)
    await submitting


async def test_an_id_that_a_protocol_hands_out_is_the_episodes(episodes: Episodes) -> None:
    view = episodes.open(EpisodeRequest(seed=7), episode_id="a" * 64)
    assert view.id == "a" * 64
    with pytest.raises(EpisodeExistsError):
        episodes.open(EpisodeRequest(seed=8), episode_id="a" * 64)
    assert episodes.view("a" * 64).seed == 7
