"""What comes out of tasks side by side when some of them fail."""

import asyncio

import pytest

from service.errors import SandboxError
from service.grading.faults import first_fault

pytestmark = pytest.mark.anyio


async def fail(error: Exception) -> None:
    raise error


async def side_by_side(*errors: Exception) -> None:
    with first_fault():
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(fail(error))


async def test_faults_of_the_service_come_as_one_of_them() -> None:
    with pytest.raises(SandboxError, match="the first") as caught:
        await side_by_side(SandboxError("the first"), SandboxError("the second"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("errors", [[ValueError("x")], [SandboxError("x"), ValueError("y")]], ids=["alone", "beside"])
async def test_a_defect_is_not_hidden(errors: list[Exception]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await side_by_side(*errors)
    assert caught.group_contains(ValueError)
