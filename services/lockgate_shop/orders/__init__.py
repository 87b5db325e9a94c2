"""orders: what somebody bought, at the price of that moment."""
