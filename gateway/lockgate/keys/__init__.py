"""The keys of a gateway: their files, their states, their rotation, and how running workers follow a change."""
