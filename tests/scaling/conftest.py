"""What tests of this folder may ask for."""

import pytest

from tests.scaling.world import world as made


@pytest.fixture
async def world():
    async with made() as it:
        yield it
