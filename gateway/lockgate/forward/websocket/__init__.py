"""WebSockets through the gateway: handshake, upgrade, frames, and one end for both sides."""
