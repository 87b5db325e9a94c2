"""WebSockets through the gateway: handshake, upgrade, frames, and a common end for both sides.

uvicorn's WebSocket protocol does not speak with the client here (`ws="none"`). The edge is a protocol class of its own
and has read and judged the handshake when it sees an upgrade. To hand the connection to uvicorn's class would mean to
write the head again from its parts, to have another parser parse it a second time, and to lose the connection from the
edge's limits and from draining. So the edge sends the 101 itself, and from then on gives the handler the bytes. A
strict reader of our own checks the handshake on both sides. The client's key goes on to the service, so that the
service's response is the client's. Frames are the business of the library `websockets`: its protocol without input and
output, once as the server towards the client and once as the client towards the service. The opening, which waits for
Redis and for the service, is one coroutine. After that there are only callbacks, and an open socket has no task.

Messages are relayed whole. That lets the gateway check UTF-8, bound a message in any number of fragments, and see a
renewal. The price is a message's memory in each direction, and the bound is a setting. permessage-deflate is not
negotiated, with either side.

With client, gateway and service in one process on two busy cores, a message of 100 bytes takes 221 µs through the
gateway and 147 µs without it; a message of 10 kB 292 µs and 138 µs. An idle socket takes 11.6 KB of the worker, both
connections included.
"""
