import time
from tests.e2e.test_events import *
from tests.support.stack import Stack
pytestmark = pytest.mark.stack
async def test_thirty(stack: Stack) -> None:
    got=[]
    async with logged_in(stack, "alice") as http:
        for _ in range(30):
            async with http.stream("GET", "/orders/events") as a:
                got.append(a.status_code)
                if a.status_code==200 and _ % 2:
                    assert await anext(a.aiter_lines()) == ": hello"
        print(got)
        t0=time.monotonic()
        while True:
            async with http.stream("GET", "/orders/events") as a:
                if a.status_code==200: break
        print("free after", time.monotonic()-t0)
        token=http.headers["authorization"]
        host,port=stack.url.removeprefix("http://").split(":")
        async with contextlib.AsyncExitStack() as st:
            got=[]
            for _ in range(12):
                try: 
                    await st.enter_async_context(connect(f"{stack.url.replace('http', 'ws', 1)}/orders/events", additional_headers={"authorization":token}, proxy=None)); got.append(101)
                except InvalidStatus as e: got.append((e.response.status_code, bytes(e.response.body)))
            print(got)
    assert 0
