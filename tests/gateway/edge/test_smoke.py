from tests.support.node import Node
from tests.support.upstream import Upstream


async def test_a_request_reaches_the_service(node: Node, upstream: Upstream) -> None:
    answer = await node.get("/orders/7?a=b", node.tokens.bearer())
    assert answer.status == 200
    print(answer.raw, upstream.requests[0].raw)
