"""What the gateway and the services both need, written once. Imports nothing of either."""
