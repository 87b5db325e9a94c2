"""Side-by-side measurements of Lockgate and other gateways; `python -m bench` writes docs/performance.md."""
