import asyncio

import pytest

from runner.budget import Budget
from runner.errors import BudgetSpentError

pytestmark = pytest.mark.anyio


async def test_without_a_limit_everything_fits() -> None:
    budget = Budget(None)
    async with budget.reserved(1e9):
        budget.spend(1e9)
    assert budget.spent_usd == 1e9
    assert not budget.is_limited


async def test_a_call_whose_dearest_answer_does_not_fit_is_not_begun() -> None:
    budget = Budget(1.0, spent_usd=0.5)
    async with budget.reserved(0.5):
        budget.spend(0.3)
    with pytest.raises(BudgetSpentError, match=r"--max-cost \$1 is spent: \$0\.8000 so far, .* may cost \$0\.5000"):
        async with budget.reserved(0.5):
            pass


async def test_what_calls_on_their_way_do_not_use_is_waited_for() -> None:
    budget = Budget(1.0)
    order: list[str] = []

    async def first() -> None:
        async with budget.reserved(0.8):
            await asyncio.sleep(0.02)
            budget.spend(0.1)
            order.append("first")

    async def second() -> None:
        async with budget.reserved(0.8):
            order.append("second")

    await asyncio.gather(first(), second())
    assert order == ["first", "second"]


async def test_the_sum_never_passes_the_limit_however_many_ask_at_a_time() -> None:
    budget = Budget(1.0)

    async def call() -> bool:
        try:
            async with budget.reserved(0.2):
                await asyncio.sleep(0.001)
                budget.spend(0.07)
        except BudgetSpentError:
            return False
        return True

    made = await asyncio.gather(*(call() for _ in range(40)))
    assert 0.8 < budget.spent_usd <= 1.0
    assert sum(made) == round(budget.spent_usd / 0.07)


async def test_a_cancelled_call_frees_what_it_held() -> None:
    budget = Budget(1.0)

    async def call() -> None:
        async with budget.reserved(1.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with budget.reserved(1.0):
        pass
