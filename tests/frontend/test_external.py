"""Whether a frontend is the only one: what the endpoints of its Service say."""

import msgspec
import pytest

from grove_dp.frontend.external import HERE, Alone
from grove_dp.kube.errors import ApiError, ApiUnreachable


class Slices:
    """The endpoint slices of an API server, invented."""

    def __init__(self):
        self.items = []
        self.trouble = None
        self.asked = []

    async def get(self, path, *, into, query):
        self.asked.append((path, query))
        if self.trouble is not None:
            raise self.trouble
        return msgspec.convert({"items": self.items}, into)


def endpoints(*ready):
    return {
        "endpoints": [
            {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": each}}
            for number, each in enumerate(ready)
        ]
    }


async def test_one_ready_endpoint_is_ours():
    api = Slices()
    alone = Alone(api, "ml", "grove-dp")
    assert await alone() == ([HERE], ())
    api.items = [endpoints(True, False), {"endpoints": None}]
    assert await alone() == ([HERE], ())
    assert api.asked[0] == (
        "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices",
        {"labelSelector": "kubernetes.io/service-name=grove-dp"},
    )


async def test_a_second_one_makes_the_picture_incomplete_until_it_has_gone():
    api = Slices()
    alone = Alone(api, "ml", "grove-dp")
    api.items = [endpoints(True, True)]
    [why] = (await alone()).missing
    assert why.startswith("NotSole: Service grove-dp leads to 2 frontends")
    api.items = [endpoints(True), endpoints(True)]  # one endpoint in two slices
    assert (await alone()).missing == ()


@pytest.mark.parametrize(
    "trouble", [ApiError("GET", 403, "Forbidden", "no rights"), ApiUnreachable("nobody there")]
)
async def test_while_nobody_can_say_what_was_seen_last_holds_and_that_is_logged_once(trouble, caplog):
    api = Slices()
    alone = Alone(api, "ml", "grove-dp")
    api.items = [endpoints(True, True)]
    before = await alone()
    api.trouble = trouble
    assert (await alone(), await alone()) == (before, before)
    assert [record.message for record in caplog.records] == [
        f"endpoints of Service grove-dp cannot be counted: {trouble}"
    ]


async def test_without_a_service_it_is_taken_at_its_word():
    api = Slices()
    assert await Alone(api, None, None)() == ([HERE], ())
    assert api.asked == []
